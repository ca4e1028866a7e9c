package severity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds on the deadline of a [Custom] condition.
const (
	DefaultCustomDeadline = time.Second
	maxCustomDeadline     = time.Minute
)

type custom struct {
	name     string
	judge    func(context.Context, Input) (bool, error)
	deadline time.Duration
}

// customAnswer is what a custom condition said of one Input.
type customAnswer struct {
	of     *custom
	truth  Truth
	reason string
}

// Custom holds while the function returns true. It is called by [Engine.Ask], on a goroutine of its own, once
// for each evaluation however often the condition is used; it may block until its context ends, after the
// deadline, and must not change the Input. An error, a panic, a missed deadline, or a call that is still
// going on from an earlier evaluation is Unknown. The deadline is at most 1 minute; 0 means 1 s. The name is
// for people.
func Custom(name string, judge func(context.Context, Input) (bool, error), deadline time.Duration) Condition {
	if deadline == 0 {
		deadline = DefaultCustomDeadline
	}
	return &custom{name, judge, deadline}
}

// Judge implements Condition.
func (c *custom) Judge(in *Input) Finding {
	for i := range in.custom {
		if a := &in.custom[i]; a.of == c {
			return Finding{Truth: a.truth, Signal: c.name, Reason: a.reason}
		}
	}
	return unknown(c.name, "not asked", 0)
}

// String implements Condition.
func (c *custom) String() string { return fmt.Sprintf("custom(%q)", c.name) }

func (c *custom) check(*Config) error {
	var faults []error
	if c.name == "" {
		faults = append(faults, errors.New("a custom condition has no name"))
	}
	if c.judge == nil {
		faults = append(faults, fmt.Errorf("%v has no function", c))
	}
	if c.deadline < 0 || c.deadline > maxCustomDeadline {
		faults = append(faults, fmt.Errorf("deadline %v is outside 0 to %v", c.deadline, maxCustomDeadline))
	}
	return errors.Join(faults...)
}

// call is one custom condition of an Engine, and whether a call of it goes on.
type call struct {
	of   *custom
	busy atomic.Bool
}

// Ask calls all custom conditions at once and puts their answers into the Input. It returns when all have
// answered or missed their deadline, at once without any. A call that overruns its deadline goes on until its
// function returns; until then it is not called again. Ask may run while another goroutine steps the Engine,
// but only once at a time.
func (e *Engine) Ask(ctx context.Context, in *Input) {
	if len(e.calls) == 0 {
		return
	}
	answers := make([]customAnswer, len(e.calls))
	var wg sync.WaitGroup
	for i, c := range e.calls {
		wg.Go(func() { answers[i] = c.ask(ctx, *in) })
	}
	wg.Wait()
	in.custom = answers
}

func (c *call) ask(ctx context.Context, in Input) customAnswer {
	holds, err := within(ctx, c.of.deadline, &c.busy, func(ctx context.Context) (bool, error) {
		return c.of.judge(ctx, in)
	})
	if err != nil {
		return customAnswer{of: c.of, reason: err.Error()}
	}
	return customAnswer{of: c.of, truth: TruthOf(holds)}
}
