package client_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// take takes one permit that must be there.
func take(t *testing.T, h *client.Permits) *client.Permit {
	t.Helper()
	p, ok := h.TryAcquire(1)
	if !ok {
		t.Fatalf("no permit of %s: held %d of %d, %v", h.Resource(), h.Held(), h.Limit(), h.Err())
	}
	return &p
}

// lostAfter returns how long from now the permit is lost, and why.
func lostAfter(t *testing.T, p *client.Permit) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	select {
	case <-p.Context().Done():
		return time.Since(start), context.Cause(p.Context())
	case <-time.After(time.Hour):
		t.Fatal("the permit was not lost within an hour")
		return 0, nil
	}
}

func TestOneStreamForAll(t *testing.T) {
	l := newLessor(1)
	l.give("a", 1)
	l.give("b", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t, client.WithName("crawler-7"))
		if n := len(l.streams()); n != 0 {
			t.Fatalf("%d streams before the first handle, want 0", n)
		}
		a, b, again := permits(t, c, "a"), permits(t, c, "b"), permits(t, c, "a")
		streams := l.streams()
		if len(streams) != 1 {
			t.Fatalf("%d streams for three handles, want 1", len(streams))
		}
		// Whoever dials for the client may be another process, and outlive it or not.
		if h := streams[0].hello; h.Client != "crawler-7" || h.Resume || h.Exclusive || h.Instance == (permit.InstanceID{}) {
			t.Errorf("hello = %+v, want crawler-7, an instance, nothing to resume, not exclusive", h)
		}
		p := take(t, a)
		defer p.Release()
		if _, ok := again.TryAcquire(1); ok || again.Held() != 1 {
			t.Errorf("a second handle took a permit: %v, and holds %d; want what the first has left", ok, again.Held())
		}
		if b.Limit() != 2 || b.Held() != 0 {
			t.Errorf("b: held %d of %d, want 0 of 2", b.Held(), b.Limit())
		}
	})
}

// On a connection of its own the program's death is the end of its work.
func TestExclusiveConnection(t *testing.T) {
	l := newLessor(1)
	lis, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Skip(err)
	}
	srv := grpc.NewServer()
	headroomv1.RegisterStatusServiceServer(srv, &script{})
	headroomv1.RegisterPermitServiceServer(srv, l)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	defer func() {
		srv.Stop()
		<-served
	}()
	c, err := client.Dial(t.Context(), client.WithAddress("unix://"+lis.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.give("host", 1)
	p, err := c.Acquire(t.Context(), "host")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	w := l.streams()[0]
	if h := w.hello; !h.Exclusive || h.Client == "" {
		t.Errorf("hello = %+v, want exclusive and a name", h)
	}
	if p := w.hello.Process; runtime.GOOS == "linux" && (p.PID != int64(os.Getpid()) || p.Start <= 0) {
		t.Errorf("process = %+v, want the pid %d and its start", p, os.Getpid())
	}
}

func TestProgramName(t *testing.T) {
	for path, want := range map[string]string{
		"/usr/bin/crawler":       "crawler-7",
		"/tmp/-größe 1.test":     "gr--e-1.test-7",
		"":                       "program-7",
		strings.Repeat("x", 100): strings.Repeat("x", 62) + "-7",
	} {
		if got := client.ProgramName(path, 7); got != want {
			t.Errorf("name of %q = %q, want %q", path, got, want)
		}
	}
}

// Every frame is a heartbeat, and without news there is one a second, by which the lease never ends.
func TestHeartbeat(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		p := take(t, h)
		defer p.Release()
		time.Sleep(time.Minute)
		w := l.streams()[0]
		before := len(w.received())
		time.Sleep(10 * time.Second)
		if n := len(w.received()) - before; n < 9 || n > 11 {
			t.Errorf("%d frames in 10 s, want one a second", n)
		}
		if p.Context().Err() != nil {
			t.Errorf("the permit was lost: %v", context.Cause(p.Context()))
		}
		if r := l.report("host"); r.Held != 1 || r.Want != 1 {
			t.Errorf("report = held %d of %d wanted, want 1 of 1", r.Held, r.Want)
		}
	})
}

func TestLeaseEndsWithoutEchoes(t *testing.T) {
	l := newLessor(1)
	l.give("host", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		p := take(t, h)
		defer p.Release()
		l.fallSilent(true)
		after, cause := lostAfter(t, p)
		// The Hello is echoed at 0 s, and a hundredth of the TTL is kept in reserve.
		if after.Truncate(time.Microsecond) != 4950*time.Millisecond || !errors.Is(cause, client.ErrLeaseLost) {
			t.Errorf("lost after %v with %v, want 4.95 s and ErrLeaseLost", after, cause)
		}
		if _, ok := h.TryAcquire(1); ok || h.Limit() != 0 {
			t.Errorf("took a permit without a lease: %v of %d", ok, h.Limit())
		}
		if h.Held() != 1 {
			t.Errorf("held = %d, want the one that was not released", h.Held())
		}
		l.fallSilent(false)
		time.Sleep(5 * time.Second)
		again := take(t, h)
		if again.Context().Err() != nil {
			t.Errorf("a permit of the next lease is lost: %v", context.Cause(again.Context()))
		}
		again.Release()
	})
}

// A permit that is taken by a clock that was read before the end of the lease is lost with it, though none was held
// then.
func TestLeaseEndsWithNoneHeld(t *testing.T) {
	l := newLessor(1)
	l.give("host", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		before := h.InForce()
		l.fallSilent(true)
		time.Sleep(6 * time.Second)
		if cause := context.Cause(before); !errors.Is(cause, client.ErrLeaseLost) {
			t.Errorf("what is taken under the lease that is over ends with %v, want ErrLeaseLost", cause)
		}
		if err := h.InForce().Err(); err != nil {
			t.Errorf("what is taken next ends with %v", err)
		}
	})
}

// A silent stream is not trusted with more work, and given up before the lease is over.
func TestSilentStream(t *testing.T) {
	l := newLessor(1)
	l.give("host", 5)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		p, q := take(t, h), take(t, h)
		l.fallSilent(true)
		time.Sleep(1900 * time.Millisecond)
		third := take(t, h) // it is not silent for long enough
		third.Release()
		time.Sleep(200 * time.Millisecond)
		if _, ok := h.TryAcquire(1); ok {
			t.Error("more work was started after 2 s of silence")
		}
		q.Release()
		q = take(t, h) // in the place of what ended
		time.Sleep(395 * time.Millisecond)
		if n := len(l.streams()); n != 1 {
			t.Fatalf("%d streams after 2.495 s, want the first", n)
		}
		time.Sleep(10 * time.Millisecond)
		if n := len(l.streams()); n != 0 {
			t.Fatalf("%d streams after 2.505 s, want none", n)
		}
		l.fallSilent(false)
		time.Sleep(100 * time.Millisecond)
		streams := l.streams()
		if len(streams) != 1 || !streams[0].hello.Resume {
			t.Fatalf("%d streams, want one that resumes the session", len(streams))
		}
		if held := streams[0].hello.Held; len(held) != 1 || held[0].Held != 2 || held[0].Target != 5 {
			t.Errorf("the hello states %+v, want 2 held of a target of 5", held)
		}
		take(t, h).Release()
		if p.Context().Err() != nil {
			t.Errorf("work was cancelled: %v", context.Cause(p.Context()))
		}
		p.Release()
		q.Release()
	})
}

// What runs goes on while the server is restarted, and so do starts within the target.
func TestServerRestart(t *testing.T) {
	l := newLessor(1)
	l.give("host", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, stop func()) {
		h := permits(t, m.client(t), "host")
		p := take(t, h)
		defer p.Release()
		l.tell(permit.ServerFrame{Draining: true, Drain: time.Second})
		synctest.Wait()
		take(t, h).Release()
		l.cut(nil)
		stop()
		take(t, h).Release()

		time.Sleep(500 * time.Millisecond)
		next := newLessor(2)
		next.give("host", 3)
		stop = m.serve(&script{permits: next})
		defer func() { stop() }()
		time.Sleep(1500 * time.Millisecond)
		streams := next.streams()
		if len(streams) != 1 {
			t.Fatalf("%d streams to the next server, want 1", len(streams))
		}
		if hello := streams[0].hello; !hello.Resume || hello.Epoch != 1 || len(hello.Held) != 1 || hello.Held[0].Held != 1 {
			t.Errorf("hello = %+v, want the session of epoch 1 with 1 held", hello)
		}
		if h.Limit() != 3 || p.Context().Err() != nil {
			t.Errorf("limit %d and cause %v, want 3 and none", h.Limit(), context.Cause(p.Context()))
		}
		l = next
	})
}

func TestRetriesOfAttach(t *testing.T) {
	l := newLessor(1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t)
		permits(t, c, "host")
		for range 3 {
			l.cut(unavailable())
			synctest.Wait()
			time.Sleep(25 * time.Millisecond)
			synctest.Wait()
			if len(l.streams()) != 1 {
				t.Fatal("not attached again 25 ms after the stream broke, the mean of the first wait")
			}
		}
		l.refuse(unavailable())
		l.cut(unavailable())
		time.Sleep(time.Minute)
		l.refuse(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(l.streams()) != 1 {
			t.Error("not attached again 1 s after the server was back, the mean of the longest wait")
		}
	})
}

func TestAttachRefused(t *testing.T) {
	for _, code := range []codes.Code{codes.Unimplemented, codes.PermissionDenied, codes.InvalidArgument} {
		t.Run(code.String(), func(t *testing.T) {
			l := newLessor(1)
			l.refuse(status.Error(code, "go away"))
			leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
				c := m.client(t)
				h, err := c.Permits("host", client.WithOffline(client.OfflineUnlimited))
				if err != nil {
					t.Fatal(err)
				}
				for changed := h.Changed(); h.Err() == nil; changed = h.Changed() {
					<-changed
				}
				_, err = h.Acquire(t.Context(), 1)
				if status.Code(err) != code || !strings.Contains(err.Error(), "go away") {
					t.Errorf("Acquire = %v, want %v of the server", err, code)
				}
				if status.Code(h.Err()) != code {
					t.Errorf("Err = %v, want %v", h.Err(), code)
				}
				if _, ok := h.TryAcquire(1); ok || h.Limit() != 0 {
					t.Errorf("took a permit after a refusal: %v of %d", ok, h.Limit())
				}
				if _, err := c.Permits("other"); status.Code(err) != code {
					t.Errorf("Permits = %v, want %v", err, code)
				}
			})
		})
	}
}

// A refusal is not answered by the offline policy: what runs goes on until the lease is over, and that is all.
func TestAttachRefusedLater(t *testing.T) {
	l := newLessor(1)
	l.give("host", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host", client.WithOffline(client.OfflineUnlimited))
		p := take(t, h)
		defer p.Release()
		l.cut(status.Error(codes.PermissionDenied, "no longer"))
		synctest.Wait()
		if _, ok := h.TryAcquire(1); ok || status.Code(h.Err()) != codes.PermissionDenied {
			t.Errorf("took a permit: %v; Err = %v, want PERMISSION_DENIED", ok, h.Err())
		}
		after, cause := lostAfter(t, p)
		if after.Truncate(time.Millisecond) != 4950*time.Millisecond || !errors.Is(cause, client.ErrLeaseLost) {
			t.Errorf("lost after %v with %v, want 4.95 s and ErrLeaseLost", after, cause)
		}
		if _, ok := h.TryAcquire(1); ok || h.Limit() != 0 {
			t.Errorf("took a permit after the lease: %v of %d", ok, h.Limit())
		}
	})
}

// A kick ends the work at once, but is no ban.
func TestKicked(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host", client.WithOffline(client.OfflineUnlimited))
		p := take(t, h)
		l.tell(permit.ServerFrame{Kicked: "astray"})
		after, cause := lostAfter(t, p)
		if after != 0 || !errors.Is(cause, client.ErrKicked) || !strings.Contains(cause.Error(), "astray") {
			t.Errorf("lost after %v with %v, want at once and ErrKicked with the reason", after, cause)
		}
		p.Release()
		time.Sleep(4900 * time.Millisecond)
		if _, ok := h.TryAcquire(1); ok || len(l.streams()) != 0 {
			t.Errorf("took a permit: %v, with %d streams; want neither for 5 s", ok, len(l.streams()))
		}
		time.Sleep(200 * time.Millisecond)
		take(t, h).Release()
	})
}

// The time that the machine was suspended counts.
func TestSuspend(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t, client.WithClock(func() time.Duration { return m.clock() + m.suspended() })), "host")
		p := take(t, h)
		m.suspend(3 * time.Second)
		time.Sleep(200 * time.Millisecond)
		if p.Context().Err() != nil {
			t.Fatalf("lost after 3.2 s: %v", context.Cause(p.Context()))
		}
		time.Sleep(2 * time.Second) // by now the stream was taken for silent, and there is another
		m.suspend(5 * time.Second)
		after, cause := lostAfter(t, p)
		if after > 100*time.Millisecond || !errors.Is(cause, client.ErrLeaseLost) {
			t.Errorf("lost %v after the wake with %v, want at most 100 ms and ErrLeaseLost", after, cause)
		}
		p.Release()
		time.Sleep(time.Second)
		take(t, h).Release()
	})
}

func TestCloseSaysGoodbye(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t)
		h := permits(t, c, "host")
		p := take(t, h)
		waiting := make(chan error)
		go func() {
			_, err := h.Acquire(context.Background(), 1)
			waiting <- err
		}()
		go func() {
			<-p.Context().Done()
			time.Sleep(100 * time.Millisecond) // the work ends
			p.Release()
		}()
		synctest.Wait()
		w, start := l.streams()[0], time.Now()
		if err := c.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if err := <-waiting; !errors.Is(err, client.ErrClosed) {
			t.Errorf("Acquire = %v, want ErrClosed", err)
		}
		if cause := context.Cause(p.Context()); cause != client.ErrClosed {
			t.Errorf("cause = %v, want ErrClosed", cause)
		}
		frames := w.received()
		if last := frames[len(frames)-1]; !last.Goodbye || time.Since(start) != 100*time.Millisecond {
			t.Errorf("last frame %+v after %v, want a goodbye as soon as the work ended", last, time.Since(start))
		}
		if _, err := c.Permits("host"); !errors.Is(err, client.ErrClosed) {
			t.Errorf("Permits = %v, want ErrClosed", err)
		}
	})
}

// What runs on after Close stays charged.
func TestCloseWhileHeld(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t)
		h := permits(t, c, "host")
		p := take(t, h)
		w, start := l.streams()[0], time.Now()
		if err := c.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if took := time.Since(start); took != 500*time.Millisecond {
			t.Errorf("Close took %v, want 500 ms", took)
		}
		for _, f := range w.received() {
			if f.Goodbye {
				t.Error("a goodbye was sent while work still ran")
			}
		}
		p.Release()
		if h.Err() != client.ErrClosed {
			t.Errorf("Err = %v, want ErrClosed", h.Err())
		}
	})
}

// However much comes up while the stream is not free, it goes out in the next frame.
func TestFramesGatherWhatIsPending(t *testing.T) {
	l := newLessor(1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		w := l.streams()[0]
		before := len(w.received())
		ctx, cancel := context.WithCancel(t.Context())
		const n = 10_000
		done := make(chan struct{})
		for range n {
			go func() {
				_, _ = h.Acquire(ctx, 1)
				done <- struct{}{}
			}()
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if r := l.report("host"); r.Want != n || r.Need != 1 {
			t.Errorf("report = %d wanted, %d by the first, want %d and 1", r.Want, r.Need, n)
		}
		if frames := len(w.received()) - before; frames > n/10 {
			t.Errorf("%d frames for %d calls", frames, n)
		}
		cancel()
		for range n {
			<-done
		}
		time.Sleep(3 * time.Second)
		if r := l.report("host"); r.Want != 0 {
			t.Errorf("%d wanted after all calls ended, want 0", r.Want)
		}
	})
}
