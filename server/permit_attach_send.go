package server

import (
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// tellDrain says that the server will have ended within that time.
func (w *attached) tellDrain(within time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain, w.draining = within, true
	w.startLocked()
}

// tellKick says that the session is over, and ends the stream.
func (w *attached) tellKick(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kicked, w.targets = reason, true
	w.startLocked()
}

// poke notes that there are targets to send.
func (w *attached) poke() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.targets = true
	w.startLocked()
}

// mostUnheard is how many frames may be sent on goroutines of others before one of the worker comes, which is then
// taken to read them: together they are far less than what gRPC takes without waiting for the reader.
const mostUnheard = 2

// claim is poke where it reports true, but that the caller has to call sendNext.
func (w *attached) claim() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sending || w.closed || w.unheard >= mostUnheard {
		return false
	}
	w.sending, w.targets = true, true
	return true
}

// flush sends what there is to say.
func (w *attached) flush() {
	w.mu.Lock()
	start := !w.sending && !w.closed && w.pendingLocked()
	w.sending = w.sending || start
	w.mu.Unlock()
	if start {
		w.sendNext(w.limits.SendTimeout)
	}
}

func (w *attached) startLocked() {
	if w.sending || w.closed || !w.pendingLocked() {
		return
	}
	w.sending = true
	go w.sendAll()
}

// sendAll sends what there is to say, and ends the stream if that fails. Whoever set sending has to call it, or sendNext.
func (w *attached) sendAll() {
	w.end(guarded(func() error {
		for {
			if more, err := w.send(w.limits.SendTimeout); !more {
				return err
			}
		}
	}))
}

// sendNext is sendAll for a goroutine that has other work: what there is to say by the time a frame was sent, which may
// take as long as the timeout, is sent on another.
func (w *attached) sendNext(timeout time.Duration) {
	w.end(guarded(func() error {
		more, err := w.send(timeout)
		if more && w.goOn() {
			go w.sendAll()
		}
		return err
	}))
}

// goOn reports whether there is more to say, and else ends the sending.
func (w *attached) goOn() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sending = !w.closed && w.pendingLocked()
	return w.sending
}

func (w *attached) pendingLocked() bool {
	return w.targets || w.echoes || w.draining || w.kicked != ""
}

// send sends what there is to say, as one frame. It reports whether there may be more, and else why the stream is over if
// it is.
func (w *attached) send(timeout time.Duration) (more bool, err error) {
	w.mu.Lock()
	if w.closed || !w.pendingLocked() {
		w.sending = false
		w.mu.Unlock()
		return false, nil
	}
	take := w.targets
	w.targets = false
	w.mu.Unlock()

	var targets []permit.Target
	if take {
		targets = w.take(nil)
	}
	f, ok := w.frame(targets)
	if !ok {
		return true, nil
	}
	w.waits.Store(int64(timeout))
	w.stuck.Reset(timeout)
	err = w.stream.SendMsg(&f)
	w.stuck.Stop()
	switch {
	case err != nil:
		return false, err
	case f.Kicked != "":
		return false, &kickedError{f.Kicked}
	}
	return true, nil
}

// take takes the targets that may be sent.
func (w *attached) take(dst []permit.Target) []permit.Target {
	a := w.arbiter
	if a.enterTimeless() != nil {
		return dst
	}
	defer a.leave(nil)
	if a.writing || a.frozen || a.streams[w.id] != w {
		return dst // whoever writes pokes again
	}
	dst = a.ledger.TakeTargets(w.id, dst)
	a.counters.targets += uint64(len(dst))
	return dst
}

// frame returns all that there is to say, if there is anything.
func (w *attached) frame(targets []permit.Target) (_ permit.ServerFrame, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(targets) == 0 && !w.echoes && !w.draining && w.kicked == "" {
		return permit.ServerFrame{}, false
	}
	w.sequence++
	w.unheard++
	f := permit.ServerFrame{
		Sequence: w.sequence, Epoch: w.epoch, Echo: w.echo, Welcome: w.welcome, Targets: targets,
		Drain: w.drain, Draining: w.draining, Kicked: w.kicked,
	}
	w.welcome, w.echoes, w.draining = nil, false, false
	w.echoAt = min(max(w.echoAt, w.heard)+w.echoPause, w.heard+(echoBurst+1)*w.echoPause)
	return f, true
}

// unread ends a stream that is not read.
func (w *attached) unread() {
	w.arbiter.slow(w.stream.Context())
	w.end(&slowReaderError{timeout: time.Duration(w.waits.Load())})
}
