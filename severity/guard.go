package severity

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A PanicError is a panic in a function of the program.
type PanicError struct {
	// Value is what it panicked with.
	Value any

	// Stack is the stack of its goroutine, as debug.Stack prints it.
	Stack []byte
}

// Error returns the value, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// ErrGoexit reports that a function of the program ended the goroutine that it was called on.
var ErrGoexit = errors.New("severity: the function called runtime.Goexit")

// ErrBusy reports that a function of the program has not returned from an earlier call.
var ErrBusy = errors.New("severity: an earlier call has not returned yet")

// guard calls f and hands its error to done whatever f does, also after a panic and runtime.Goexit.
func guard(f func() error, done func(error)) {
	err := ErrGoexit
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{v, debug.Stack()}
		}
		done(err)
	}()
	err = f()
}

// within returns what f returns, or an error once the deadline has passed. f is called on a goroutine of its
// own, which ends with it, however late; busy is set until then, and keeps f from being called again.
func within[T any](
	ctx context.Context, deadline time.Duration, busy *atomic.Bool, f func(context.Context) (T, error),
) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if !busy.CompareAndSwap(false, true) {
		return none, ErrBusy
	}
	ctx, cancel := context.WithTimeoutCause(ctx, deadline, fmt.Errorf("no answer within %v", deadline))
	defer cancel()
	answered := make(chan answer, 1)
	var a answer
	go guard(func() (err error) {
		a.value, err = f(ctx)
		return err
	}, func(err error) {
		a.err = err
		busy.Store(false)
		answered <- a
	})
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}
