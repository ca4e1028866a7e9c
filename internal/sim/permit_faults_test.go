package sim

import (
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// gremlin does one thing to the world, and comes again.
func (w *world) gremlin() {
	if w.calm {
		return
	}
	w.after(w.exp(w.pace), w.gremlin)
	sw := w.workers[w.random.IntN(len(w.workers))]
	switch w.random.IntN(26) {
	case 0, 1:
		w.kill(sw)
	case 2:
		w.leave(sw)
	case 3, 4:
		w.pause(sw)
	case 5:
		w.suspend()
	case 6, 7:
		if sw.stream != nil && !sw.stream.dead {
			w.reach(streamBroken)
			sw.stream.end(w.between(1, 100*time.Millisecond), w.between(1, 100*time.Millisecond))
		}
	case 8:
		if sw.stream != nil && !sw.stream.dead {
			w.reach(streamHalfOpen)
			if w.chance(50) {
				sw.stream.end(w.between(1, 100*time.Millisecond), 0)
			} else {
				sw.stream.end(0, w.between(1, 100*time.Millisecond))
			}
		}
	case 9, 10, 11:
		w.partition(sw)
	case 12:
		w.reach(delayed)
		sw.link.slowUp, sw.link.slowDn = w.now+w.exp(3*time.Second), w.now+w.exp(3*time.Second)
	case 13, 14, 15:
		// Who is killed is to be given up by the life of the server that knew them.
		settling := w.now > w.storm*4/12 && w.now < w.storm*9/12
		if w.server.up && w.crashes && !settling {
			at := crashed + fault(w.random.IntN(5))
			if w.server.crashAt = at; at == crashed {
				w.server.crash(at)
			}
		}
	case 16:
		w.pauseServer()
	case 17, 18, 19:
		w.moveLimit()
	case 20, 21:
		w.moveMode()
	case 22, 23:
		w.kick()
	case 24:
		w.steal(sw)
	default:
		if len(w.workers) < 4*w.most {
			w.addWorker()
		}
	}
}

func (w *world) kill(sw *simWorker) {
	if sw.state == dead || sw.leaving {
		return
	}
	if w.chance(50) || !w.server.up || w.server.paused {
		w.killUnseen(sw)
		return
	}
	w.reach(workerProvenDead)
	for _, ss := range w.server.sessions {
		if ss.worker != sw || ss.over {
			continue
		}
		w.after(w.between(time.Millisecond, 50*time.Millisecond), func() {
			w.server.arrive(func() {
				w.server.ledger.End(w.server.local(), ss.id)
				w.server.over(ss)
				w.server.soon()
			}, w.server.life)
		})
	}
	sw.die(w.now + w.lease())
	w.addWorker()
}

// killUnseen kills a worker on another host: the server hears at most that its stream broke.
func (w *world) killUnseen(sw *simWorker) {
	if sw.state == dead || sw.leaving {
		return
	}
	w.reach(workerKilled)
	sw.die(w.now + w.lease())
	w.addWorker()
}

func (w *world) leave(sw *simWorker) {
	if sw.state != alive || sw.leaving || sw.stream == nil || sw.liar {
		return
	}
	w.reach(workerSaysGoodbye)
	for _, u := range sw.uses {
		sw.cancel(u, 0)
	}
	sw.leaving = true
	st := sw.stream
	st.up(sw.lessee.Goodbye(sw.local()))
	w.observe(event{kind: died, worker: sw.index, until: w.now + w.lease()})
	w.addWorker()
}

func (w *world) pause(sw *simWorker) {
	if sw.state != alive {
		return
	}
	w.reach(workerPaused)
	sw.state = paused
	d := w.exp(time.Second)
	if w.chance(50) {
		d = w.between(3*time.Second, 15*time.Second)
	}
	w.after(d, sw.resume)
}

// suspend stops the machine on which some of the workers run, not that of the server; their clocks go on.
func (w *world) suspend() {
	d := w.between(time.Second, 30*time.Second)
	for _, sw := range w.workers {
		if sw.state != alive || !w.chance(40) {
			continue
		}
		w.reach(hostSuspended)
		sw.state = paused
		w.after(d, func() {
			if w.rig == rigClockStops {
				sw.clock.offset -= time.Duration(float64(d) * sw.clock.rate)
			}
			sw.resume()
		})
	}
}

func (w *world) partition(sw *simWorker) {
	until := w.now + w.exp(2*time.Second)
	if w.chance(50) {
		until = w.now + w.between(4*time.Second, 15*time.Second)
	}
	switch w.random.IntN(3) {
	case 0:
		w.reach(partitionToServer)
		sw.link.noUp = until
	case 1:
		w.reach(partitionToWorker)
		sw.link.noDown = until
	case 2:
		w.reach(partitionBoth)
		sw.link.noUp, sw.link.noDown = until, until
	}
}

func (w *world) pauseServer() {
	s := w.server
	if !s.up || s.paused {
		return
	}
	w.reach(serverPaused)
	s.paused = true
	life := s.life
	w.after(w.exp(3*time.Second), func() { s.resume(life) })
}

func (s *simServer) resume(life int) {
	if life != s.life || !s.up || !s.paused {
		return
	}
	s.paused = false
	inbox := s.inbox
	s.inbox = nil
	for _, do := range inbox {
		if s.life == life && s.up {
			do()
		}
	}
	if s.life == life && s.up {
		s.soon()
	}
}

func (w *world) moveLimit() {
	i := w.random.IntN(len(w.resources))
	r := w.resources[i]
	before, n := r.limit, w.random.Int64N(r.most+1)
	if w.chance(20) {
		n = 0
	}
	if w.chance(40) {
		n = r.most
	}
	switch {
	case n == 0:
		w.reach(limitZero)
	case n < before:
		w.reach(limitLowered)
	case n > before:
		w.reach(limitRaised)
	}
	w.server.setLimit(i, n)
	if n < max(r.most/3, 1) {
		w.after(w.between(time.Second, 5*time.Second), func() {
			if r.limit == n {
				w.server.setLimit(i, r.most)
			}
		})
	}
}

func (w *world) moveMode() {
	r := w.resources[w.random.IntN(len(w.resources))]
	if r.mode != permit.ModeNormal {
		return
	}
	r.mode = permit.ModeDrain
	if w.chance(50) {
		r.mode = permit.ModeCancel
		w.reach(modeCancel)
	} else {
		w.reach(modeDrain)
	}
	w.server.setMode(r)
	w.after(w.exp(2*time.Second), func() {
		r.mode = permit.ModeNormal
		w.server.setMode(r)
	})
}

func (w *world) kick() {
	s := w.server
	if !s.up || s.paused || len(s.sessions) == 0 {
		return
	}
	ss := s.sessions[w.random.IntN(len(s.sessions))]
	if _, _, err := s.ledger.Kick(s.local(), ss.name, "test"); err != nil {
		w.tell("kick: %v", err)
		return
	}
	w.reach(kicked)
	if ss.stream != nil {
		ss.sequence++
		ss.stream.down(permit.ServerFrame{Sequence: ss.sequence, Epoch: s.epoch, Echo: ss.echo, Kicked: "test"})
	}
	s.soon()
}

// steal says hello as another identity with a session that somebody else has.
func (w *world) steal(sw *simWorker) {
	s := w.server
	session, ok := sw.lessee.Session()
	if !s.up || s.paused || !ok || sw.state == dead {
		return
	}
	w.reach(stolenSession)
	hello := permit.Hello{Client: "thief", Instance: sw.instance, Session: session.Session, Epoch: session.Epoch, Resume: true}
	for _, u := range sw.uses {
		if t, ok := sw.lessee.Target(w.resources[u.resource].name); ok {
			hello.Held = append(hello.Held, permit.Holding{Resource: t.Resource, Held: 0, Version: t.Version})
		}
	}
	welcome, err := s.ledger.Attach(s.local(), permit.Party{Identity: "uid:666", PID: -1}, hello)
	if err != nil {
		return
	}
	if welcome.Resumed || welcome.Session == session.Session {
		w.observe(event{kind: stolen, worker: sw.index})
	}
	s.ledger.End(s.local(), welcome.Session)
	s.soon()
}

// heal ends all faults, and lets what they did pass: a server that is down, what it then charges for an earlier
// life and for the dead, and who waits to attach again.
func (w *world) heal() {
	w.calm, w.server.crashAt = true, crashed
	w.server.resume(w.server.life)
	for _, sw := range w.workers {
		sw.link.noUp, sw.link.noDown, sw.link.slowUp, sw.link.slowDn = 0, 0, 0, 0
		sw.resume()
	}
	w.after(10*time.Second+w.lease()+8*time.Second, func() {
		w.observe(event{kind: calm})
		w.look()
		w.dip()
	})
	for i, r := range w.resources {
		r.mode = permit.ModeNormal
		w.server.setMode(r)
		w.server.setLimit(i, r.most)
	}
	for _, sw := range w.workers {
		sw.mind()
	}
}

// dip lowers a limit for a moment, again and again: nobody waits longer for that than the moment takes and the workers
// put off their reports.
func (w *world) dip() {
	i := w.random.IntN(len(w.resources))
	r := w.resources[i]
	w.server.setLimit(i, w.random.Int64N(r.most+1))
	w.after(w.exp(200*time.Millisecond), func() { w.server.setLimit(i, r.most) })
	w.after(w.exp(8*time.Second), w.dip)
}

// look shows the checker who waits, again and again. In the worst case each of those who wait goes once before
// one of them goes twice, for the longest of times, and where a task needs many permits only some can go at once.
// Whoever waits for what is guaranteed to others, of its own identity or another, may wait for ever.
func (w *world) look() {
	for i, r := range w.resources {
		var count int64
		oldest := w.now
		smallest, top, gathers := r.most, permit.MinPriority, false
		for _, sw := range w.workers {
			for _, u := range sw.uses {
				if u.resource != i || sw.state != alive || sw.leaving {
					continue
				}
				gathers, top = gathers || u.need > 1, max(top, u.demand.Priority)
				if u.since != 0 {
					count++
					oldest, smallest = min(oldest, u.since), min(smallest, u.need)
				}
			}
		}
		guarantees, identities, all := w.server.guarantees(r.name)
		for _, sw := range w.workers {
			left := r.limit - all + guarantees[sw.index]
			if of := identities[sw.party.Identity]; of > guarantees[sw.index] && of*simIdentities >= r.limit-all+of {
				left = guarantees[sw.index] // the others of the identity have its whole part
			}
			for _, u := range sw.uses {
				if u.resource == i && sw.state == alive && !sw.leaving && u.since != 0 && u.need <= left {
					bound := 10*time.Second + time.Duration(count)*4*time.Second/time.Duration(max((r.limit-all)/u.need, 1))
					if u.demand.Priority < top || gathers {
						bound *= 10 // a lower band has a floor of a tenth
					}
					w.observe(event{kind: waiting, worker: sw.index, resource: i, n: int64(bound), until: u.since})
				}
			}
		}
		if count > 0 && r.limit-r.running >= smallest {
			w.observe(event{kind: unused, resource: i, n: int64(2 * time.Second), until: max(oldest, r.moved)})
		}
	}
	w.after(500*time.Millisecond, w.look)
}
