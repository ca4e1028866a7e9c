package pool

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

var (
	// ErrRunning reports that Run was called while the pool runs.
	ErrRunning = errors.New("pool: already running")

	// ErrNotRunning reports that what needs a running pool was asked of one that does not run.
	ErrNotRunning = errors.New("pool: not running")

	// ErrAborted is what Run returns after Abort, and the cause with which the contexts of its tasks end.
	ErrAborted = errors.New("pool: aborted")

	// ErrStopped is the cause with which the contexts of tasks end because another failed, the error of Submit once the
	// pool starts nothing more, and that of Wait where a drained group left tasks.
	ErrStopped = errors.New("pool: stopped")

	// ErrShed is the cause with which the context of a task ends that is cancelled for want of memory. Its error is
	// not one of the pool.
	ErrShed = errors.New("pool: cancelled for want of memory")
)

// errShareClosed is why a pool gets no more permits of a Budget.
var errShareClosed = errors.New("pool: the share of the budget is closed")

// A PanicError is the error of a task that panicked.
type PanicError struct {
	Value any    // of the panic
	Stack []byte // of the goroutine
}

// Error gives the value and the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("pool: panic: %v\n\n%s", e.Value, e.Stack) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// panicked returns the error of a panic with v, from where it was recovered.
func panicked(v any) *PanicError { return &PanicError{Value: v, Stack: debug.Stack()} }

// errGoexit is the error of a task, or of what the pool asks, that ended its goroutine.
var errGoexit = errors.New("pool: a task, Ready, Finished or a sequence called runtime.Goexit")

// broke reports whether a task ended in a way in which it cannot have meant to.
func broke(err error) bool {
	_, panicked := err.(*PanicError)
	return panicked || err == errGoexit
}

// A TimeoutError is the error of a task that took longer than [Options.TaskTimeout].
type TimeoutError struct {
	After time.Duration
}

// Error gives the time.
func (e *TimeoutError) Error() string { return fmt.Sprintf("pool: task timed out after %v", e.After) }

// Timeout returns true, as that of a net.Error.
func (e *TimeoutError) Timeout() bool { return true }

// leastRetry is the least that [RetryAfter] waits: 0 and times in the past are common in Retry-After, and a target that
// throttles is not to be asked without a pause.
const leastRetry = 100 * time.Millisecond

// RetryAfter returns the error of a task whose target asks for fewer requests, as by HTTP 429 with Retry-After. It is
// no failure: the task runs again after d, at least 100 ms, and until then no task of its key starts, while those of
// other keys do. What waits so holds no permit and counts as no demand. Where all that waited did so, the limit then
// rises from what runs within a second, unless the law lets it jump: the first start at once, the others gradually.
// err says why, and may be nil. With [Options.Run] the pool only takes note for its law, and it is Run that finds its
// work again.
func RetryAfter(d time.Duration, err error) error {
	return &retryError{min(max(leastRetry, d), maxWait), err}
}

type retryError struct {
	after time.Duration
	err   error
}

func (e *retryError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("pool: retry after %v", e.after)
	}
	return fmt.Sprintf("pool: retry after %v: %v", e.after, e.err)
}

func (e *retryError) Unwrap() error { return e.err }

// maxErrors bounds the errors of tasks that are kept beside the first.
const maxErrors = 64

// taskErrors are the errors of one Run.
type taskErrors struct {
	errs []error
	more int // that were not kept
}

func (e *taskErrors) add(err error) (first bool) {
	if len(e.errs) > maxErrors {
		e.more++
		return false
	}
	e.errs = append(e.errs, err)
	return len(e.errs) == 1
}

// join returns the first error alone, or joined with the others, or nil.
func (e *taskErrors) join() error {
	switch {
	case len(e.errs) == 1:
		return e.errs[0]
	case e.more > 0:
		return errors.Join(append(e.errs[:len(e.errs):len(e.errs)], fmt.Errorf("pool: and %d more errors", e.more))...)
	}
	return errors.Join(e.errs...)
}

// isCancelled reports whether a task failed only because its context ended.
func isCancelled(ctx context.Context, err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))
}
