package pool

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Task is one piece of work.
type Task struct {
	// Run does it. Required.
	Run func(ctx context.Context) error

	// Key names what a task depends on that may ask for fewer requests, such as a host name. While the key is
	// throttled by [RetryAfter] no task of it starts, and those of others do. Empty is no key.
	Key string

	// Weight is how many permits it takes, at least 1; 0 is 1.
	Weight int64
}

func (t *Task) validate() error {
	switch {
	case t.Run == nil:
		return errors.New("pool: task: Run: want a function")
	case t.Weight < 0 || t.Weight > unlimited:
		return fmt.Errorf("pool: task: Weight: %d: want 1 to %d", t.Weight, int64(unlimited))
	}
	return nil
}

// source is where tasks come from. Only the one who has the role of the dispatcher calls it, but for waiting.
type source interface {
	// next returns a task that may start now, or why there is none and when to ask again if nothing happens. It is
	// called without the lock of the pool.
	next(ctx context.Context, now time.Duration) (t Task, b Block, again time.Duration, err error)

	// putBack takes back what next returned, which did not start after all; it comes first again.
	putBack(t Task)

	// retry takes back a task to be run again, where the source can do that; its key rests until then.
	retry(t Task, until time.Duration) bool

	// finished reports whether there will be no more, after next said [BlockReady]. It is called without the lock of
	// the pool.
	finished(ctx context.Context) (bool, error)

	// waiting returns how many permits could be used beside those that are held, as far as that is known, where ready
	// is whether next had a task when last asked. It is called with the lock of the pool.
	waiting(ready bool, held int64) int64
}

// forever is longer than any wait.
const forever time.Duration = math.MaxInt64

// predicates is the source of a pool with a function Run, which finds its work by itself.
type predicates struct{ o *Options }

func (p predicates) next(ctx context.Context, now time.Duration) (Task, Block, time.Duration, error) {
	ok := true
	var err error
	switch {
	case p.o.Ready != nil:
		ok, err = p.o.Ready(ctx)
	case p.o.Finished != nil:
		ok, err = p.o.Finished(ctx)
		ok = !ok
	}
	if !ok || err != nil {
		return Task{}, BlockReady, now + p.o.ReadyInterval, err
	}
	return Task{Run: p.o.Run, Weight: p.o.Weight}, BlockNone, 0, nil
}

func (p predicates) putBack(Task) {}

func (p predicates) retry(Task, time.Duration) bool { return false }

func (p predicates) finished(ctx context.Context) (bool, error) {
	if p.o.Ready == nil || p.o.Finished == nil {
		return true, nil
	}
	return p.o.Finished(ctx)
}

// waiting takes what Ready says for as many as run: nobody knows how many there are, and so the demand doubles while
// there is work.
func (p predicates) waiting(ready bool, held int64) int64 {
	if !ready {
		return 0
	}
	return max(held, p.o.Weight)
}
