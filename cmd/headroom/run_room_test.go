package main

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// It is tried again for as long as another command runs, and for a while where none does.
func TestStandstill(t *testing.T) {
	const (
		idle = iota
		busy
		started
	)
	type step struct {
		at   time.Duration
		what int
		want bool
	}
	for name, steps := range map[string][]step{
		"none runs":        {{0, idle, true}, {startPatience - 1, idle, true}, {startPatience, idle, false}, {2 * startPatience, idle, false}},
		"others run":       {{0, busy, true}, {startPatience, busy, true}, {time.Hour, busy, true}},
		"others have run":  {{0, idle, true}, {startPatience, busy, true}, {startPatience, idle, true}, {2 * startPatience, idle, false}},
		"one was started":  {{0, idle, true}, {startPatience, started, false}, {startPatience, idle, true}, {2*startPatience - 1, idle, true}},
		"and again it was": {{0, idle, true}, {startPatience, idle, false}, {startPatience, started, false}, {startPatience, idle, true}},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Unix(1, 0)
			var s standstill
			for i, step := range steps {
				if step.what == started {
					s.end()
					if s.lasts() {
						t.Errorf("step %d: it lasts after a start", i)
					}
					continue
				}
				after, got := s.refused(begin.Add(step.at), step.what == busy)
				if got != step.want || s.lasts() != (step.what == idle) {
					t.Errorf("step %d: again = %v, lasts = %v, want %v, %v", i, got, s.lasts(), step.want, step.what == idle)
				}
				if after < startPause || after > longestStartPause || step.what == busy && after != startPause {
					t.Errorf("step %d: a pause of %v, want %v, or up to %v where none runs", i, after, startPause, longestStartPause)
				}
			}
		})
	}
}

func TestStartWithRoom(t *testing.T) {
	full := &exitError{exitNotExecutable, &os.PathError{Op: "fork/exec", Path: "true", Err: syscall.EAGAIN}}
	broken := &exitError{exitNotFound, &os.PathError{Op: "fork/exec", Path: "true", Err: syscall.ENOENT}}
	lost := errors.New("the permit is lost")
	for name, tt := range map[string]struct {
		full int // how often there is no room
		then error
		end  func(cancel context.CancelCauseFunc, signals chan<- os.Signal)
		code int // of the error; 0 for none

		least, most time.Duration // that it takes
	}{
		"room":        {0, nil, nil, exitOK, 0, 0},
		"room later":  {3, nil, nil, exitOK, 3 * startPause, 3 * longestStartPause},
		"other error": {1, broken, nil, exitNotFound, startPause, longestStartPause},
		"never":       {1000, nil, nil, exitRun, startPatience, startPatience + longestStartPause},
		"lost": {1000, nil, func(cancel context.CancelCauseFunc, _ chan<- os.Signal) {
			cancel(lost)
		}, exitRun, 0, 0},
		"signal": {1000, nil, func(_ context.CancelCauseFunc, signals chan<- os.Signal) {
			signals <- os.Interrupt
		}, 128 + int(syscall.SIGINT), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				signals := make(chan os.Signal, 1)
				if tt.end != nil {
					tt.end(cancel, signals)
				}
				want, left := &child{}, tt.full
				began := time.Now()
				got, err := startWithRoom(func() (*child, error) {
					switch left--; {
					case left >= 0:
						return nil, full
					case tt.then != nil:
						return nil, tt.then
					default:
						return want, nil
					}
				}, signals, ctx, io.Discard)
				var exit *exitError
				code := exitOK
				if errors.As(err, &exit) {
					code = exit.code
				}
				if code != tt.code || (got == want) != (tt.code == exitOK) {
					t.Errorf("startWithRoom = %v, %v, want the code %d", got, err, tt.code)
				}
				if took := time.Since(began); took < tt.least || took > tt.most {
					t.Errorf("it took %v, want %v to %v", took, tt.least, tt.most)
				}
			})
		})
	}
}
