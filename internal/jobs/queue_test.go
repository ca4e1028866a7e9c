package jobs_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

func TestQueue(t *testing.T) {
	changes := 0
	q := jobs.NewQueue(func() { changes++ })
	if _, ok := q.Total(); ok {
		t.Error("the total of what was not read is known")
	}
	q.Fill(jobs.Values([]string{"a", "b", "c"}), func(seq int64) bool { return seq == 2 })
	if n, ended, err := q.State(); n != 2 || !ended || err != nil {
		t.Errorf("State = %d, %t, %v, want 2 that have ended", n, ended, err)
	}
	if total, ok := q.Total(); total != 2 || !ok {
		t.Errorf("Total = %d, %t, want 2", total, ok)
	}
	for _, want := range []jobs.Job{{Seq: 1, Args: []string{"a"}}, {Seq: 3, Args: []string{"c"}}} {
		if got, ok := q.Take(); !ok || got.Seq != want.Seq || got.Args[0] != want.Args[0] {
			t.Errorf("Take = %+v, %t, want %+v", got, ok, want)
		}
	}
	if j, ok := q.Take(); ok {
		t.Errorf("Take = %+v of an empty queue", j)
	}
	if changes != 2 { // the first, and the end
		t.Errorf("%d changes were told, want 2", changes)
	}
}

// A queue takes no more than it has room for, and goes on when there is.
func TestQueueIsBounded(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		name string
		arg  string
		most int
	}{{"jobs", "a", 100_000}, {"bytes", big, 16}} {
		synctest.Test(t, func(t *testing.T) {
			var given atomic.Int64
			q := jobs.NewQueue(func() {})
			go q.Fill(func(yield func([]string, error) bool) {
				for yield([]string{tt.arg}, nil) {
					given.Add(1)
				}
			}, nil)
			synctest.Wait()
			if n, ended, _ := q.State(); n != tt.most || ended {
				t.Errorf("%s: %d queued, ended %t, want %d", tt.name, n, ended, tt.most)
			}
			q.Take()
			synctest.Wait()
			if n := given.Load(); n != int64(tt.most)+1 {
				t.Errorf("%s: %d were read after one was taken, want %d", tt.name, n, tt.most+1)
			}
			q.Close() // or the bubble would not end
		})
	}
}

func TestQueueTellsError(t *testing.T) {
	broken := errors.New("broken")
	q := jobs.NewQueue(func() {})
	q.Fill(func(yield func([]string, error) bool) { _ = yield([]string{"a"}, nil) && yield(nil, broken) }, nil)
	if n, ended, err := q.State(); n != 1 || !ended || !errors.Is(err, broken) {
		t.Errorf("State = %d, %t, %v, want one job and the error", n, ended, err)
	}
}

func TestEstimate(t *testing.T) {
	var e jobs.Estimate
	e.Begin(time.Second)
	if d, ok := e.Left(time.Minute, 10); ok {
		t.Errorf("%v before anything is done", d)
	}
	at := time.Second
	for range 50 {
		at += 100 * time.Millisecond
		e.Complete(at)
	}
	if d, ok := e.Left(at, 100); !ok || d.Round(time.Millisecond) != 10*time.Second {
		t.Errorf("%v, %t at ten a second, want 10 s", d, ok)
	}
	if d, _ := e.Left(at+4*time.Second, 100); d.Round(time.Millisecond) != 6*time.Second {
		t.Errorf("%v after 4 s without any, want 6 s", d)
	}
	if d, _ := e.Left(at+time.Minute, 100); d != 0 {
		t.Errorf("%v when it was to be over, want 0", d)
	}
	for range 1000 {
		at += 200 * time.Millisecond
		e.Complete(at)
	}
	if d, _ := e.Left(at, 100); d.Round(time.Millisecond) != 20*time.Second {
		t.Errorf("%v after the pace halved, want 20 s", d)
	}
	if _, ok := e.Left(at, -1); ok {
		t.Error("an estimate of an unknown number")
	}
}
