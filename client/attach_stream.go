package client

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/headroom-rpc/headroom/permit"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// attachStream is a stream of frames: it sends *permit.WorkerFrame and receives *permit.ServerFrame.
type attachStream = grpc.ClientStream

// errKicked is why a stream ended that the server had no use for any more.
var errKicked = errors.New("client: the server ended the session")

// run keeps a stream to the server until ctx is done or to go on is in vain.
func (a *attachment) run(ctx context.Context) {
	retry := backoff{jitter: a.client.jitter, base: attachRetryBase, most: attachRetryMax}
	for lost := false; ; lost = true {
		welcomed, err := a.stream(ctx, lost)
		if a.isOver() {
			a.stop()
		}
		if ctx.Err() != nil {
			return
		}
		if welcomed {
			retry.reset()
		}
		err = a.client.callError(ctx, "attach", err)
		switch status.Code(err) {
		case codes.Unimplemented, codes.InvalidArgument, codes.PermissionDenied:
			a.client.log.Error("attachment refused", "err", err)
			a.end(err)
			return
		}
		delay := retry.delay()
		if asked, ok := retryDelay(err); ok {
			delay = max(delay, asked)
		}
		if a.fail(err) {
			delay = max(delay, kickPause)
		}
		a.client.log.Info("attachment lost", "err", err, "retry_in", delay)
		if !pause(ctx, nil, delay) {
			return
		}
	}
}

// isOver reports whether the stream was ended by Close.
func (a *attachment) isOver() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.goodbye
}

// fail takes note of why a stream ended, and reports whether somebody else ended the session.
func (a *attachment) fail(err error) (kicked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// That nothing came says less than why there was no connection in the first place.
	if a.failure == nil || !errors.Is(err, errSilent) {
		a.failure = err
	}
	a.reached = true
	a.settleLocked(a.exactNow())
	return a.kicked != ""
}

// stream attaches once and serves the stream to its end. With lost it waits for a connection, which has a backoff
// of its own that begins anew; without it fails at once where there is none, and says why.
func (a *attachment) stream(ctx context.Context, lost bool) (welcomed bool, err error) {
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	a.mu.Lock()
	a.cut, a.heard = cut, a.exactNow()
	a.mu.Unlock()
	signal(a.look)
	defer a.disconnect()

	if lost {
		a.client.conn.ResetConnectBackoff()
	}
	stream, err := a.client.permits.Attach(ctx, grpc.WaitForReady(lost), grpc.ForceCodecV2(newFrameCodec()))
	if err != nil {
		return false, causeOf(ctx, err)
	}
	a.mu.Lock()
	a.lessee.Connect(a.exactNow())
	a.mu.Unlock()
	written := make(chan struct{}) // closed when the writer has returned
	go func() {
		defer close(written)
		a.write(ctx, stream)
	}()
	defer func() {
		cut(nil)
		<-written
	}()
	for f := new(permit.ServerFrame); ; {
		if err := stream.RecvMsg(f); err != nil {
			return welcomed, causeOf(ctx, err)
		}
		welcomed = a.receive(f) || welcomed
	}
}

func causeOf(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errSilent), errors.Is(cause, errKicked):
		return cause
	case errors.Is(err, io.EOF):
		return errEnded
	default:
		return err
	}
}

func (a *attachment) disconnect() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cut, a.greeted = nil, false
	a.lessee.Disconnect(a.exactNow())
	signal(a.look)
}

// receive takes a frame, and reports whether it is a welcome.
func (a *attachment) receive(f *permit.ServerFrame) bool {
	a.mu.Lock()
	now := a.exactNow()
	a.heard, a.stale = now, false
	if f.Echo >= a.sentAt {
		a.unread = 0
	}
	if f.Kicked != "" {
		a.kicked = f.Kicked
	}
	a.lessee.Receive(now, *f)
	if f.Welcome != nil {
		a.failure, a.greeted = nil, true
	}
	a.settleLocked(now)
	cut := a.cut
	if due, ok := a.lessee.Next(); ok && due < a.wakeAt { // as when a lowered target is to be acknowledged
		signal(a.wake)
	}
	a.mu.Unlock()
	switch {
	case f.Kicked != "":
		a.client.log.Warn("session ended by an operator", "reason", f.Kicked)
		cut(errKicked)
	case f.Welcome != nil:
		a.client.heard(f.Welcome.Instance, f.Welcome.Version)
		a.client.log.Info("attached", "instance", f.Welcome.Instance, "epoch", f.Epoch, "resumed", f.Welcome.Resumed)
	case f.Draining:
		a.client.log.Info("the server is about to end", "within", f.Drain)
	}
	return f.Welcome != nil
}

// write sends what there is to say whenever the stream is free for it, so that all that comes up during one send
// goes out with the next.
func (a *attachment) write(ctx context.Context, stream attachStream) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	a.lend(stream)
	defer a.lend(nil)
	for {
		sent, wait, over := a.send(stream)
		if over {
			return
		}
		if sent {
			continue
		}
		timer.Reset(wait)
		for silent := true; silent; {
			select {
			case <-a.wake:
				silent = a.silent()
			case <-timer.C:
				silent = false
			case <-ctx.Done():
				return
			}
		}
	}
}

// silent reports whether the writer, who was woken, may sleep on until wakeAt: what there was to say was sent by a caller
// of tell. To look anew would cost more than to find that out, and has it woken once more by the next target.
func (a *attachment) silent() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.shares {
		if s.dirty.Load() {
			return false
		}
	}
	due, ok := a.lessee.Next()
	return ok && due >= a.wakeAt && !a.goodbye
}

// send sends the next frame, if one is due. It reports whether there is another to be sent, how long there is none if
// nothing happens, and whether the stream takes no more.
func (a *attachment) send(stream attachStream) (sent bool, wait time.Duration, over bool) {
	a.sending.Lock()
	defer a.sending.Unlock()
	f, wait, last := a.next()
	if f == nil {
		return false, wait, false
	}
	if stream.SendMsg(f) != nil {
		return false, 0, true // the receiver learns why
	}
	if last {
		_ = stream.CloseSend() // it never fails
	}
	return true, 0, last
}

// lend lets others send on the stream; nil ends that.
func (a *attachment) lend(stream attachStream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.out, a.unread = stream, 0
}

// mostUnread is how many frames callers of tell may send before the server is known to have read one of them: together
// they are less than what gRPC takes without waiting for that.
const mostUnread = 4

// tell has the server told what there is to say. The caller, who is about to wait for the answer, sends it itself
// where that cannot block, which spares it a switch to the writer and back. It must hold no lock.
func (a *attachment) tell() {
	if !a.sending.TryLock() {
		signal(a.wake)
		return
	}
	defer a.sending.Unlock()
	a.mu.Lock()
	stream := a.out
	if stream == nil || a.goodbye || a.unread >= mostUnread {
		a.mu.Unlock()
		signal(a.wake)
		return
	}
	sleeps := a.wakeAt
	f, _, _ := a.nextLocked()
	due := a.wakeAt
	if f != nil {
		due, _ = a.lessee.Next()
	}
	a.wakeAt = sleeps
	a.mu.Unlock()
	if f != nil && stream.SendMsg(f) != nil {
		return // the receiver learns why
	}
	if due < sleeps {
		signal(a.wake)
	}
}

// next returns the frame to send now, and whether it is the last, or else how long there is none if nothing
// happens.
func (a *attachment) next() (f *permit.WorkerFrame, wait time.Duration, last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.nextLocked()
}

func (a *attachment) nextLocked() (f *permit.WorkerFrame, wait time.Duration, last bool) {
	now := a.exactNow()
	if a.goodbye {
		f := a.lessee.Goodbye(now)
		a.settleLocked(now)
		return &f, 0, true
	}
	a.lessee.Advance(now)
	a.settleLocked(now)
	heartbeat, _ := a.timesLocked()
	for _, s := range a.shares {
		if s.dirty.Swap(false) || now-s.stated >= heartbeat {
			s.stated = now
			a.lessee.Demand(s.name, s.demand(now))
		}
	}
	if f, ok := a.lessee.Frame(now); ok {
		a.sentAt = f.Sent
		a.unread++
		return &f, 0, false
	}
	a.wakeAt = now + heartbeat
	if due, ok := a.lessee.Next(); ok {
		a.wakeAt = max(now, min(due, a.wakeAt))
	}
	return nil, a.wakeAt - now, false
}

// timesLocked returns the heartbeat and the TTL in force.
func (a *attachment) timesLocked() (heartbeat, ttl time.Duration) {
	if w, ok := a.lessee.Session(); ok {
		return w.Heartbeat, w.TTL
	}
	return permit.DefaultHeartbeat, permit.DefaultTTL
}
