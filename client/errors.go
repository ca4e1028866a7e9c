package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errorDomain is the domain of the reasons that a headroom server gives.
const errorDomain = "headroom.v1"

// maxRetryDelay bounds what a server may ask for.
const maxRetryDelay = time.Minute

var (
	// ErrClosed reports that the Client was closed.
	ErrClosed = errors.New("client closed")

	// ErrNoServer reports that Dial tried every address and got no judgement from any. An error of Dial that
	// is not ErrNoServer is of its options.
	ErrNoServer = errors.New("client: no headroom server can be used")
)

// errEnded and errSilent are why a stream that gRPC has no complaint about was given up, and errNotStarted
// why one was that breaks the contract.
var (
	errEnded      = errors.New("client: the server ended the stream")
	errSilent     = errors.New("client: the server fell silent")
	errNotStarted = errors.New("client: the first message of the stream does not say what started")
)

// Reason returns the machine-readable reason that the server gave for err, such as those of
// docs/errors.md, or "" if it gave none.
func Reason(err error) string {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return string(refused.Refusal)
	}
	for _, d := range details(err) {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return info.GetReason()
		}
	}
	return ""
}

// retryDelay returns how long the server asked to wait before a retry of what failed with err, and whether
// it asked.
func retryDelay(err error) (time.Duration, bool) {
	for _, d := range details(err) {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return max(0, min(info.GetRetryDelay().AsDuration(), maxRetryDelay)), true
		}
	}
	return 0, false
}

// permanent reports whether to ask again is in vain: also where what was asked about is gone, as a process that
// ended, whose pid may be another's by then.
func permanent(err error) bool {
	switch status.Code(err) {
	case codes.Unimplemented, codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated,
		codes.NotFound:
		return true
	default:
		return false
	}
}

// callError is why a call failed. The gRPC status stays within it.
type callError struct {
	op    string
	cause error // why this side ended the call, else nil
	err   error // what gRPC said
}

// callError returns the error of the named call, with [ErrClosed] or the cause of ctx where that ended it.
func (c *Client) callError(ctx context.Context, op string, err error) error {
	cause := context.Cause(ctx)
	if deadline, ok := ctx.Deadline(); cause == nil && ok && !time.Now().Before(deadline) {
		cause = context.DeadlineExceeded // the server, which knows the deadline, was a moment faster
	}
	if c.isDone() {
		cause = ErrClosed
	}
	return &callError{op: op, cause: cause, err: err}
}

func (e *callError) Error() string {
	if e.cause == nil {
		return "client: " + e.op + ": " + e.err.Error()
	}
	return fmt.Sprintf("client: %s: %v (%v)", e.op, e.cause, e.err)
}

func (e *callError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.err}
	}
	return []error{e.cause, e.err}
}

// tryError is why Dial gave up on one address.
type tryError struct {
	address string
	err     error
}

func (e *tryError) Unwrap() error { return e.err }

// Error leaves out what gRPC and Client say about the call, which the caller of Dial did not make.
func (e *tryError) Error() string {
	s := inner(e.err)
	if s == nil {
		return e.address + ": " + e.err.Error()
	}
	text := s.Message()
	if dial, ok := strings.CutPrefix(text, `connection error: desc = "transport: Error while dialing: `); ok {
		text = strings.TrimSuffix(dial, `"`)
	} else if s.Code() != codes.Unavailable {
		text = s.Code().String() + ": " + text
	}
	var call *callError
	if errors.As(e.err, &call) && call.cause != nil {
		if s.Code() == codes.DeadlineExceeded || s.Code() == codes.Canceled {
			text = call.cause.Error()
		} else {
			text = call.cause.Error() + ": " + text
		}
	}
	return e.address + ": " + text
}

// inner returns the status within err as the server or gRPC made it, without the texts that wrap it.
func inner(err error) *status.Status {
	var g interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &g) {
		return nil
	}
	return g.GRPCStatus()
}

func details(err error) []any { return inner(err).Details() }
