package pool

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
)

// ForEach calls fn with each value of seq, as many at once as the pool lets. It takes a value only when its call may
// start. It blocks until all calls have returned, one has failed, or ctx is done, and returns what [Pool.Run] does. At
// most one Options may be given, without Run, Ready and Finished. A seq that waits for something must end when ctx is
// done. A call that returns [RetryAfter] is repeated.
func ForEach[T any](ctx context.Context, seq iter.Seq[T], fn func(context.Context, T) error, o ...Options) error {
	if err := given(seq != nil, fn != nil); err != nil {
		return err
	}
	return All(ctx, func(yield func(Task) bool) {
		for v := range seq {
			if !yield(Task{Run: func(ctx context.Context) error { return fn(ctx, v) }}) {
				return
			}
		}
	}, o...)
}

// Map is [ForEach] for functions with a result. It returns the results in the order of seq, or else an error.
func Map[T, R any](
	ctx context.Context, seq iter.Seq[T], fn func(context.Context, T) (R, error), o ...Options,
) ([]R, error) {
	if err := given(seq != nil, fn != nil); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var results []R
	err := All(ctx, func(yield func(Task) bool) {
		for v := range seq {
			mu.Lock()
			i := len(results)
			var none R
			results = append(results, none)
			mu.Unlock()
			if !yield(Task{Run: func(ctx context.Context) error {
				result, err := fn(ctx, v)
				mu.Lock()
				defer mu.Unlock()
				results[i] = result
				return err
			}}) {
				return
			}
		}
	}, o...)
	if err != nil {
		return nil, err
	}
	return results, nil
}

// All is [ForEach] for tasks, which may have keys and weights.
func All(ctx context.Context, tasks iter.Seq[Task], o ...Options) error {
	if err := given(tasks != nil, true); err != nil {
		return err
	}
	seq := pulled(tasks)
	q := newQueue(seq)
	p, err := fed(q, o)
	if err != nil {
		seq.stop()
		return err
	}
	err = p.Run(ctx)
	if !q.idle() { // the sequence outlived the grace, and nobody may touch it
		return err
	}
	seq.stop()
	if seq.err != nil && !errors.Is(err, seq.err) { // it panicked as it was left
		return errors.Join(err, seq.err)
	}
	return err
}

// sequence is pulled by one goroutine at a time.
type sequence struct {
	next func() (Task, bool)
	stop func()
	err  error // with which it panicked, and ended
}

// pulled returns tasks as a sequence whose panics are its error, with their own stacks.
func pulled(tasks iter.Seq[Task]) *sequence {
	s := &sequence{}
	s.next, s.stop = iter.Pull(func(yield func(Task) bool) {
		defer func() {
			if v := recover(); v != nil {
				s.err = panicked(v)
			}
		}()
		tasks(yield)
	})
	return s
}

// given reports what is nil of what a form is given.
func given(seq, fn bool) error {
	var errs []error
	if !seq {
		errs = append(errs, errors.New("pool: the sequence is nil"))
	}
	if !fn {
		errs = append(errs, errors.New("pool: the function is nil"))
	}
	return errors.Join(errs...)
}

// fed returns a pool that takes its tasks from q.
func fed(q *queue, o []Options) (*Pool, error) {
	var options Options
	switch {
	case len(o) > 1:
		return nil, fmt.Errorf("pool: options: %d of them, want at most one", len(o))
	case len(o) == 1:
		options = o[0]
	}
	if options.Run != nil {
		return nil, errors.New("pool: options: Run: the tasks are given otherwise")
	}
	p, err := newPool(options)
	if err != nil {
		return nil, err
	}
	p.source, p.asksUser = q, q.seq != nil || options.Status != nil
	return p, nil
}
