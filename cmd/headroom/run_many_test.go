package main

import (
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestParseConcurrency(t *testing.T) {
	cores := int64(runtime.GOMAXPROCS(0))
	for text, want := range map[string]int64{
		"0": 0, "3": 3, "+2": cores + 2, "-1000": 1, "100%": cores, "300%": 3 * cores, "1%": 1, "0%": 1, "+100%": 2 * cores,
	} {
		if got, err := parseConcurrency(text); err != nil || got.most != want || got.String() != text {
			t.Errorf("%q = %+v, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "two", "1.5", "NaN", "%", "1e9", "++1", "1%%"} {
		if got, err := parseConcurrency(text); err == nil {
			t.Errorf("%q = %+v, want an error", text, got)
		}
	}
}

// No more commands run at once than there are file descriptors for.
func TestMostAtOnce(t *testing.T) {
	for _, tt := range []struct {
		flags      manyFlags
		free, want int64
	}{
		{manyFlags{}, 1000, 492},
		{manyFlags{lineBuffer: true}, 1000, 246},
		{manyFlags{ungroup: true}, 1000, 0},
		{manyFlags{}, 10, 1},
		{manyFlags{}, 40, 12},
		{manyFlags{most: concurrency{most: 500}}, 1000, 492},
		{manyFlags{most: concurrency{most: 500}}, 4096, 500},
		{manyFlags{most: concurrency{most: 500}, ungroup: true}, 1000, 500},
	} {
		if got := tt.flags.mostAtOnce(tt.free); got != tt.want {
			t.Errorf("%+v with %d free descriptors: %d, want %d", tt.flags, tt.free, got, tt.want)
		}
	}
}

func TestDelimiterOf(t *testing.T) {
	for text, want := range map[string]byte{"": '\n', ",": ',', `\0`: 0, `\n`: '\n', `\t`: '\t', `\x1f`: 0x1f, "0": '0'} {
		if got, err := delimiterOf(text); err != nil || got != want {
			t.Errorf("%q = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"ab", `\`, `\q`, "\u20ac", `\u20ac`, `\00`} {
		if got, err := delimiterOf(text); err == nil {
			t.Errorf("%q = %q, want an error", text, got)
		}
	}
}

func TestProgressLine(t *testing.T) {
	for _, tt := range []struct {
		state     progressState
		now, left time.Duration
		known     bool
		want      string
	}{
		{progressState{done: 3, total: 10, all: true, running: 2}, 65 * time.Second, 90 * time.Second, true,
			"3 of 10 done, 2 running, 1m5s so far, about 1m30s left"},
		{progressState{done: 3, failed: 1, total: 10, running: 2}, time.Second, 0, false,
			"3 done, 5 wait, 1 failed, 2 running, 1s so far"},
		{progressState{done: 9, total: 10, all: true, running: 1}, time.Second, 0, true,
			"9 of 10 done, 1 running, 1s so far, about 1s left"},
	} {
		if got := progressLine(tt.state, tt.now, tt.left, tt.known); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	huge := progressState{done: 999_999_999, failed: 999_999, total: 999_999_999, all: true, running: 99_999}
	if got := progressLine(huge, 999*time.Hour, 999*time.Hour, true); len(got) > 100 {
		t.Errorf("%d columns: %q", len(got), got)
	}
}

// What is printed makes room for itself, and the progress waits for the end of a line.
func TestProgressOver(t *testing.T) {
	var screen strings.Builder
	p := newProgress(&screen, func() progressState { return progressState{done: 1, total: 2, all: true} })
	out := p.over(&screen)
	write := func(text string) {
		if n, err := out.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	p.show()
	write("begin ")
	p.show()
	write("end\n")
	p.show()
	p.close()
	got := regexp.MustCompile(`\w+ so far`).ReplaceAllString(screen.String(), "a while so far")
	line := eraseLine + "1 of 2 done, 0 running, a while so far"
	if want := line + eraseLine + "begin end\n" + line + eraseLine; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if (*progress)(nil).over(&screen) != &screen {
		t.Error("what shows nothing stands in between")
	}
}

func TestSlots(t *testing.T) {
	var s slots
	a, b := s.take(), s.take()
	s.giveBack(a)
	if c, d := s.take(), s.take(); a != 1 || b != 2 || c != 1 || d != 3 {
		t.Errorf("slots %d %d %d %d, want 1 2 1 3", a, b, c, d)
	}
}
