package severity_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/severity"
)

// scripted is a condition whose value a fuzzed script sets.
type scripted struct {
	name  string
	truth severity.Truth
}

func (c *scripted) Judge(*severity.Input) severity.Finding { return severity.Finding{Truth: c.truth} }
func (c *scripted) String() string                         { return c.name }

// FuzzEngine checks what must hold whatever the conditions say and whenever it is asked: no step is skipped, no
// evidence missing, no handler lost or called out of order.
func FuzzEngine(f *testing.F) {
	f.Add([]byte{3, 0, 0, 0, 0xff, 1, 0x55, 2, 0xaa, 9, 0, 200})
	f.Add([]byte{5, 7, 3, 31, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	f.Add([]byte{1, 255, 255, 255, 2, 2, 2, 1, 1, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) < 4 || len(script) > 200 {
			return
		}
		synctest.Test(t, func(t *testing.T) { playScript(t, script) })
	})
}

func playScript(t *testing.T, script []byte) {
	levels := int(script[0]%5) + 1
	config := severity.Config{CheckInterval: s, RemainingAll: script[3]%2 == 0}
	var conditions []*scripted
	condition := func(name string) severity.Condition {
		c := &scripted{name: name, truth: F}
		conditions = append(conditions, c)
		return c
	}
	for n := range levels {
		level := severity.Level{
			Enter:   condition(fmt.Sprint("enter", n+1)),
			HoldFor: time.Duration(script[1]>>n&1) * 2 * s,
			Dwell:   time.Duration(script[2]>>n&1) * 3 * s,
		}
		if script[3]>>n&1 == 1 {
			level.Stay, level.Unless = condition("stay"), condition("unless")
		}
		config.Levels = append(config.Levels, level)
	}
	e := engine(t, config)
	h, j := newHandlers(t, severity.HandlersConfig{})
	for n := range levels + 1 {
		must(t)(h.OnEntered(n, note(h, j, "in")))
		must(t)(h.OnEntered(n, func(context.Context, severity.Event) error { panic("in the middle") }))
		must(t)(h.OnEntered(n, note(h, j, "in-too")))
		must(t)(h.OnLeft(n, note(h, j, "out")))
		must(t)(h.OnRemaining(n, 0, note(h, j, "stay")))
	}
	must(t)(h.OnNormal(note(h, j, "normal")))

	level, sequence, now := 0, uint64(0), time.Duration(0)
	for i, b := range script[4:] {
		now += time.Duration(int(b>>4)-1) * s / 2 // it may go back
		for k, c := range conditions {
			c.truth = severity.Truth((int(b) + i*k + int(script[(i+k)%len(script)])) % 3)
		}
		out := e.Step(severity.Input{At: now})
		var want []string
		before := sequence
		for _, ev := range out.Events {
			if moved := out.Sequence != before; (ev.Kind == severity.Remaining) == moved {
				t.Fatalf("step %d: remaining beside a transition", i)
			}
			tr := ev.Transition
			switch ev.Kind {
			case severity.Entered, severity.Left:
				sequence++
				if tr.Sequence != sequence || tr.From != level || len(tr.Evidence) == 0 {
					t.Fatalf("step %d: transition %+v at level %d after %d", i, tr, level, sequence-1)
				}
				if up := ev.Kind == severity.Entered; up != tr.Up() || up && tr.To != level+1 || !up && tr.To != level-1 {
					t.Fatalf("step %d: transition from %d to %d at level %d", i, tr.From, tr.To, level)
				}
				level = tr.To
				h.Apply(tr)
				if tr.Up() {
					want = append(want, fmt.Sprintf("in%d@%d", level, level),
						fmt.Sprintf("fault(handler of entered %d: panic: in the middle)", level),
						fmt.Sprintf("in-too%d@%d", level, level))
				} else {
					want = append(want, fmt.Sprintf("out%d@%d", tr.From, tr.From))
				}
			case severity.Normal:
				if level != 0 || tr.Sequence != sequence {
					t.Fatalf("step %d: normal at level %d", i, level)
				}
				want = append(want, "normal0@0")
			case severity.Remaining:
				h.Remain(ev.Level)
				want = append(want, fmt.Sprintf("stay%d@%d", ev.Level, level))
			}
		}
		if len(out.Events) == 0 {
			t.Fatalf("step %d: no event", i)
		}
		if out.Level != level || out.Sequence != sequence || level < 0 || level > levels {
			t.Fatalf("step %d: level %d, sequence %d; want %d, %d", i, out.Level, out.Sequence, level, sequence)
		}
		if !(out.Fraction >= 0 && out.Fraction <= 1) {
			t.Fatalf("step %d: fraction %v", i, out.Fraction)
		}
		synctest.Wait()
		j.mu.Lock()
		if !slices.Equal(j.lines, want) {
			t.Fatalf("step %d: told  %q\nwant %q", i, j.lines, want)
		}
		j.lines = nil
		j.mu.Unlock()
	}
}
