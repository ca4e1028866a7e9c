package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
)

// journal collects what handlers are told, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(name string) severity.Handler {
	return func(_ context.Context, e severity.Event) error {
		text := fmt.Sprintf("%s %d", name, e.Level)
		if t := e.Transition; e.Kind != severity.Remaining {
			if len(t.Evidence) == 0 {
				text += " without evidence"
			} else if t.Sequence == 0 {
				text += " (" + t.Evidence[0].Text + ")"
			}
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		j.lines = append(j.lines, text)
		return nil
	}
}

// take returns what was told since the last time, once nothing more is.
func (j *journal) take() string {
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	text := strings.Join(j.lines, ", ")
	j.lines = nil
	return text
}

// feed has handlers of all levels told by a client of the machine, until the test ends.
func feed(t *testing.T, m *machine) *journal {
	t.Helper()
	h, j := severity.NewHandlers(severity.HandlersConfig{}), new(journal)
	for level := range 4 {
		for _, register := range []func() (*severity.Registration, error){
			func() (*severity.Registration, error) { return h.OnEntered(level, j.note("entered")) },
			func() (*severity.Registration, error) { return h.OnLeft(level, j.note("left")) },
			func() (*severity.Registration, error) { return h.OnRemaining(level, 0, j.note("remaining")) },
		} {
			if _, err := register(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := h.OnNormal(j.note("normal")); err != nil {
		t.Fatal(err)
	}
	c := m.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Handlers(ctx, h, client.SeverityOptions{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Handlers returned %v", err)
		}
		h.Close()
	})
	return j
}

func TestHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, a, b := newMachine(), newPressure("a"), newPressure("b")
		a.move(2)
		stop := m.serve(&script{watchSeverity: a.watch})
		j := feed(t, m)
		want := func(text string) {
			t.Helper()
			if got := j.take(); got != text {
				t.Errorf("told  %q\nwant  %q", got, text)
			}
		}
		want("entered 1 (the level was 2 at the start), entered 2 (the level was 2 at the start)")
		a.move(3)
		want("entered 3")
		time.Sleep(11 * time.Second)
		want("remaining 3")
		a.move(1)
		want("left 3, left 2")

		// What happened while the stream was broken is told in order, with nothing made up.
		a.cut()
		synctest.Wait()
		a.move(3)
		a.move(2)
		want("")
		time.Sleep(time.Second)
		want("entered 2, entered 3, left 3")

		// A new run is at another level: the way there is made up.
		stop()
		want("")
		b.move(1)
		b.move(0)
		stop = m.serve(&script{watchSeverity: b.watch})
		defer func() { stop() }()
		time.Sleep(10 * time.Second)
		const missed = "(transitions were missed: the server was restarted)"
		want(strings.ReplaceAll("left 2 *, left 1 *, normal 0 *", "*", missed))
		b.move(1)
		want("entered 1")
	})
}

// Who starts when all is normal is told so once, and of level 0 again while it lasts.
func TestHandlersAtNormal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), newPressure("a")
		defer m.serve(&script{watchSeverity: p.watch})()
		j := feed(t, m)
		time.Sleep(21 * time.Second)
		if got, want := j.take(), "remaining 0, remaining 0, remaining 0"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// A server that breaks its contract moves handlers step by step all the same.
func TestHandlersOfABadServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{watchSeverity: func(_ *headroomv1.WatchSeverityRequest, st severityStream) error {
			for _, msg := range []*headroomv1.WatchSeverityResponse{
				{Started: &headroomv1.SeverityStarted{InstanceId: "a"}, Severity: &headroomv1.Severity{Level: -5}},
				{Transition: transition(severity.Transition{From: 1, To: 3, Sequence: 1})},
				{Transition: transition(severity.Transition{From: 3, To: -1 << 31, Sequence: 2})},
			} {
				if err := st.Send(msg); err != nil {
					return err
				}
			}
			<-st.Context().Done()
			return nil
		}})()
		j := feed(t, m)
		const why = "(no transition led here)"
		want := strings.ReplaceAll("remaining 0, entered 1 *, entered 2 *, entered 3 *, left 3 *, left 2 *, left 1 *, normal 0 *", "*", why)
		if got := j.take(); got != want {
			t.Errorf("told %q\nwant %q", got, want)
		}
	})
}

func TestHandlersEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{watchSeverity: (&pressure{}).watch})()
		c := m.client(t)
		h := severity.NewHandlers(severity.HandlersConfig{})
		defer h.Close()
		c.Close()
		if err := c.Handlers(t.Context(), h, client.SeverityOptions{}); !errors.Is(err, client.ErrClosed) {
			t.Errorf("Handlers of a closed client = %v, want ErrClosed", err)
		}
	})
}

// A severity that is ahead of the transitions told is not told as lasting.
func TestHandlersWaitForTransitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{watchSeverity: func(_ *headroomv1.WatchSeverityRequest, st severityStream) error {
			for _, msg := range []*headroomv1.WatchSeverityResponse{
				{Started: &headroomv1.SeverityStarted{InstanceId: "a"}, Severity: &headroomv1.Severity{}},
				{Severity: &headroomv1.Severity{Level: 1, Sequence: 1}},
				{Transition: transition(severity.Transition{To: 1, Sequence: 1})},
				{Severity: &headroomv1.Severity{Level: 1, Sequence: 1}},
			} {
				if err := st.Send(msg); err != nil {
					return err
				}
				time.Sleep(time.Second)
			}
			<-st.Context().Done()
			return nil
		}})()
		j := feed(t, m)
		time.Sleep(5 * time.Second)
		if got, want := j.take(), "remaining 0, entered 1, remaining 1"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// Handlers that are slow are not told again by the next feed what the one before it left to be told.
func TestHandlersAreFedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), newPressure("a")
		defer m.serve(&script{watchSeverity: p.watch})()
		p.move(1)
		p.move(2)
		c := m.client(t)
		h := severity.NewHandlers(severity.HandlersConfig{})
		defer h.Close()
		var calls [3]int
		for level := range calls {
			if _, err := h.OnEntered(level, func(context.Context, severity.Event) error {
				calls[level]++
				time.Sleep(900 * time.Millisecond)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if err := c.Handlers(ctx, h, client.SeverityOptions{}); err != nil {
				t.Error(err)
			}
			cancel()
		}
		if told, applied := h.Level(), h.Applied(); told != 1 || applied != 2 {
			t.Errorf("told of level %d, applied %d; want 1 and 2", told, applied)
		}
		time.Sleep(10 * time.Second)
		h.Close()
		if want := [3]int{0, 1, 1}; calls != want || h.Level() != 2 {
			t.Errorf("calls of each level %v, at level %d; want %v, at 2", calls, h.Level(), want)
		}
	})
}
