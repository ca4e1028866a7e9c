package jobs_test

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

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
