package sim

import (
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// stream is one connection of a worker with one life of the server. It delivers in order or breaks, unless the
// world is chaotic.
type stream struct {
	worker  *simWorker
	life    int
	session *simSession
	dead    bool // nothing sent on it arrives in time to be of its stream

	// The newest delivery each way, for the order.
	toServer, toWorker time.Duration
}

// link is the state of the network between one worker and the server.
type link struct {
	delay, jitter  time.Duration
	noUp, noDown   time.Duration // until when nothing arrives
	slowUp, slowDn time.Duration // until when everything takes seconds
}

// send delivers after a delay, in order, or in chaos twice and in any order.
func (w *world) send(l *link, up bool, newest *time.Duration, deliver func()) {
	copies := 1
	if w.chaotic && !w.calm && w.chance(5) {
		copies = 2
		w.reach(duplicated)
	}
	for range copies {
		at := w.now + l.delay + w.exp(l.jitter)
		blocked, slow := l.noDown, l.slowDn
		if up {
			blocked, slow = l.noUp, l.slowUp
		}
		if w.now < slow {
			at += w.between(0, 6*time.Second)
		}
		if at < blocked {
			at = blocked + w.exp(10*time.Millisecond) // it is sent again until it arrives
		}
		if w.chaotic && !w.calm && w.chance(10) {
			at += w.exp(time.Second)
		} else if !w.chaotic || w.calm || w.chance(80) {
			at = max(at, *newest)
		}
		if at < *newest {
			w.reach(reordered)
		}
		*newest = max(*newest, at)
		w.at(at, deliver)
	}
}

// up sends a frame of the worker.
func (s *stream) up(f permit.WorkerFrame) {
	w := s.worker.world
	w.send(&s.worker.link, true, &s.toServer, func() {
		if !s.dead {
			w.server.arrive(func() { w.server.receive(s, f) }, s.life)
		}
	})
}

// down sends a frame of the server. It may arrive when the stream is long over.
func (s *stream) down(f permit.ServerFrame) {
	w := s.worker.world
	w.send(&s.worker.link, false, &s.toWorker, func() {
		if s.dead && !w.chaotic {
			return
		}
		s.worker.arrive(func() {
			if s.worker.stream != s {
				w.reach(lateFrame)
			}
			s.worker.receive(s, f)
		})
	})
}

// end breaks the stream; each side hears of it after a while, or, where it is 0, not at all.
func (s *stream) end(worker, server time.Duration) {
	w := s.worker.world
	s.dead = true
	if worker > 0 {
		w.after(worker, func() { s.worker.arrive(func() { s.worker.broken(s) }) })
	}
	if server > 0 {
		w.after(server, func() { w.server.arrive(func() { w.server.broken(s) }, s.life) })
	}
}
