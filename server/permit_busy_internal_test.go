package server

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// The cores of the host in a window are the mean of what was read of its parts.
func TestBusyHistory(t *testing.T) {
	const s = time.Second
	var b busyHistory
	for i, cores := range []float64{9, 1, 2, 4} { // the first is since nobody knows when
		b.add(time.Duration(i+10)*s, cores)
	}
	b.add(13*s, 100)
	b.add(12*s, 100)
	for _, tt := range []struct {
		from, to time.Duration
		want     float64
		ok       bool
	}{
		{10 * s, 11 * s, 1, true},
		{10 * s, 13 * s, 7.0 / 3, true},
		{10*s + s/2, 11*s + s/2, 1.5, true},
		{12 * s, 14 * s, 4, true}, // of the last second nothing is known yet
		{12*s + s/2, 14 * s, 0, false},
		{8 * s, 10 * s, 0, false},
		{12 * s, 12 * s, 0, false},
	} {
		if got, ok := b.over(tt.from, tt.to); ok != tt.ok || got-tt.want > 1e-9 || tt.want-got > 1e-9 {
			t.Errorf("from %v to %v: %v, %v, want %v, %v", tt.from, tt.to, got, ok, tt.want, tt.ok)
		}
	}
	for i := range 100 {
		b.add(time.Duration(20+i)*s, 3)
	}
	if got, ok := b.over(110*s, 118*s); !ok || got != 3 {
		t.Errorf("after many: %v, %v, want 3", got, ok)
	}
}

// The span of the windows is that between the last two reports.
func TestWindowsSpan(t *testing.T) {
	const s = time.Second
	report := func(id byte, at, cpu time.Duration) permit.User {
		u := permit.UnknownUsage(at)
		u.CPU = cpu
		return permit.User{Session: permit.SessionID{id}, Weight: 1, Usage: u, First: u, HasUsage: true, Reported: at}
	}
	var w usageWindows
	w.look(10*s, []permit.User{report(1, 9*s, 1*s)}, nothing)
	if _, _, ok := w.span(); ok {
		t.Error("there is a span after one report")
	}
	w.look(11*s, []permit.User{report(1, 10*s, 2*s), report(2, 10*s, 0)}, nothing)
	if from, to, ok := w.span(); !ok || from != 9*s || to != 10*s {
		t.Errorf("span %v to %v, %v, want 9 s to 10 s", from, to, ok)
	}
	w.look(11*s+s/4, []permit.User{report(1, 10*s, 2*s), report(2, 11*s, 0)}, nothing)
	if from, to, ok := w.span(); !ok || from != 9*s+s/2 || to != 10*s+s/2 {
		t.Errorf("span %v to %v, %v, want the mean of both, 9.5 s to 10.5 s", from, to, ok)
	}
	late := report(1, 13*s, 4*s)
	late.Reported = 14 * s
	w.look(14*s, []permit.User{late}, nothing)
	if from, to, ok := w.span(); !ok || from < 10*s || from > 10*s+time.Millisecond || to < 13*s || to > 13*s+time.Millisecond {
		t.Errorf("span %v to %v, %v of a report that took a second, want 10 s to 13 s", from, to, ok)
	}
	repeated := late
	repeated.Reported = 15 * s
	w.look(15*s, []permit.User{repeated}, nothing)
	if from, to, ok := w.span(); !ok || to-from < 2900*time.Millisecond {
		t.Errorf("span %v to %v, %v after the same again, want the same", from, to, ok)
	}
}
