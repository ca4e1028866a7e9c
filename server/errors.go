package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// errorDomain is the domain of every ErrorInfo.
const errorDomain = "headroom.v1"

// The reasons. docs/errors.md explains each; a test holds both together.
const (
	reasonInvalidFields   = "INVALID_FIELDS"
	reasonUnknownSignal   = "UNKNOWN_SIGNAL"
	reasonStarting        = "STARTING"
	reasonDraining        = "DRAINING"
	reasonTooLarge        = "RESPONSE_TOO_LARGE"
	reasonSubscribers     = "SUBSCRIBERS"
	reasonSlowReader      = "SLOW_READER"
	reasonReporters       = "REPORTERS"
	reasonReportsDisabled = "REPORTS_DISABLED"
	reasonInstanceChanged = "INSTANCE_CHANGED"
	reasonHistoryEvicted  = "HISTORY_EVICTED"
	reasonNoProcess       = "PROCESS_NOT_FOUND"
	reasonProcessEnded    = "PROCESS_ENDED"
	reasonReporterSilent  = "REPORTER_SILENT"
	reasonReporterChanged = "REPORTER_CHANGED"
	reasonConnections     = "CONNECTIONS"
	reasonCalls           = "CALLS"
	reasonNoResource      = "NO_RESOURCE"
	reasonNotAllowed      = "NOT_ALLOWED"
	reasonNotOwned        = "SESSION_NOT_OWNED"
	reasonSessions        = "SESSIONS"
	reasonNoSession       = "SESSION_NOT_FOUND"
	reasonSilent          = "SILENT"
	reasonReplaced        = "REPLACED"
	reasonDead            = "WORKER_DEAD"
	reasonKicked          = "KICKED"
	reasonWaiters         = "WAITERS"
	reasonWaitTooLong     = "WAIT_TOO_LONG"
	reasonPermits         = "PERMITS"
	reasonPermitLost      = "PERMIT_LOST"
	reasonFollowsLaw      = "LIMIT_FOLLOWS_LAW"
	reasonNoTask          = "TASK_NOT_FOUND"
	reasonTaskEnded       = "TASK_ENDED"
	reasonNoTaskProcess   = "TASK_PROCESS_NOT_FOUND"
	reasonNoSample        = "NO_SAMPLE"
	reasonNoGroup         = "CGROUP_NOT_FOUND"
	reasonTasks           = "TASKS"
	reasonNoTaskLimit     = "TASK_WITHOUT_LIMIT"
	reasonDiagnosticsOff  = "DIAGNOSTICS_OFF"
	reasonNoArtifact      = "ARTIFACT_NOT_FOUND"
	reasonRange           = "RANGE"
	reasonForm            = "FORM"
	reasonNotSealed       = "NOT_SEALED"
	reasonDamaged         = "ARTIFACT_DAMAGED"
	reasonRecordings      = "RECORDINGS"
	reasonProfiles        = "PROFILES"
	reasonRoleRequired    = "ROLE_REQUIRED"
	reasonUnknownMethod   = "UNKNOWN_METHOD"
	reasonDeadline        = "DEADLINE"
	reasonCancelled       = "CANCELLED"
	reasonInternal        = "INTERNAL"

	reasonArtifactTooLarge = "ARTIFACT_TOO_LARGE"
	reasonArtifactsFull    = "ARTIFACTS_FULL"
)

// reasonCodes is the one place where gRPC codes are assigned.
var reasonCodes = map[string]codes.Code{
	reasonCredentialsRequired: codes.Unauthenticated,
	reasonTokenInvalid:        codes.Unauthenticated,
	reasonTokenExposed:        codes.Unauthenticated,
	reasonInvalidFields:       codes.InvalidArgument,
	reasonUnknownSignal:       codes.NotFound,
	reasonStarting:            codes.Unavailable,
	reasonDraining:            codes.Unavailable,
	reasonTooLarge:            codes.ResourceExhausted,
	reasonSubscribers:         codes.ResourceExhausted,
	reasonSlowReader:          codes.ResourceExhausted,
	reasonReporters:           codes.ResourceExhausted,
	reasonReportsDisabled:     codes.Unimplemented,
	reasonInstanceChanged:     codes.OutOfRange,
	reasonHistoryEvicted:      codes.OutOfRange,
	reasonNoProcess:           codes.NotFound,
	reasonProcessEnded:        codes.NotFound,
	reasonReporterSilent:      codes.Unavailable,
	reasonReporterChanged:     codes.Aborted,
	reasonConnections:         codes.ResourceExhausted,
	reasonCalls:               codes.ResourceExhausted,
	reasonNoResource:          codes.NotFound,
	reasonNotAllowed:          codes.PermissionDenied,
	reasonNotOwned:            codes.PermissionDenied,
	reasonSessions:            codes.ResourceExhausted,
	reasonNoSession:           codes.NotFound,
	reasonSilent:              codes.DeadlineExceeded,
	reasonReplaced:            codes.Aborted,
	reasonDead:                codes.Aborted,
	reasonKicked:              codes.Aborted,
	reasonWaiters:             codes.ResourceExhausted,
	reasonWaitTooLong:         codes.ResourceExhausted,
	reasonPermits:             codes.ResourceExhausted,
	reasonPermitLost:          codes.NotFound,
	reasonFollowsLaw:          codes.FailedPrecondition,
	reasonNoTask:              codes.NotFound,
	reasonTaskEnded:           codes.NotFound,
	reasonNoTaskProcess:       codes.NotFound,
	reasonNoSample:            codes.OutOfRange,
	reasonNoGroup:             codes.NotFound,
	reasonTasks:               codes.ResourceExhausted,
	reasonNoTaskLimit:         codes.FailedPrecondition,
	reasonDiagnosticsOff:      codes.Unimplemented,
	reasonNoArtifact:          codes.NotFound,
	reasonRange:               codes.OutOfRange,
	reasonForm:                codes.FailedPrecondition,
	reasonNotSealed:           codes.FailedPrecondition,
	reasonDamaged:             codes.DataLoss,
	reasonRecordings:          codes.ResourceExhausted,
	reasonProfiles:            codes.ResourceExhausted,
	reasonArtifactTooLarge:    codes.ResourceExhausted,
	reasonArtifactsFull:       codes.ResourceExhausted,
	reasonRoleRequired:        codes.PermissionDenied,
	reasonUnknownMethod:       codes.Unimplemented,
	reasonDeadline:            codes.DeadlineExceeded,
	reasonCancelled:           codes.Canceled,
	reasonInternal:            codes.Internal,
}

var (
	// errDraining reports a call that came while the server shuts down.
	errDraining = errors.New("server: shutting down")
	// errStarting reports a call that came before the first sample was taken.
	errStarting = errors.New("server: no sample was taken yet")
	// errReportsDisabled reports a load report to a server that keeps none.
	errReportsDisabled = errors.New("server: load reports are switched off")
	// errInstanceChanged reports a position in the order of transitions of another run.
	errInstanceChanged = errors.New("server: the transition is of another run")
)

// subscribersError reports that Limits.MaxSubscribers is reached, or MaxProcessSubscribers.
type subscribersError struct {
	max       int
	processes bool
}

func (e *subscribersError) Error() string {
	if e.processes {
		return fmt.Sprintf("server: all %d streams of single processes are in use", e.max)
	}
	return fmt.Sprintf("server: all %d state streams are in use", e.max)
}

// slowReaderError reports a stream whose reader did not read for that time: Limits.SendTimeout, or less where another
// stream would have waited for it.
type slowReaderError struct{ timeout time.Duration }

func (e *slowReaderError) Error() string {
	return fmt.Sprintf("server: a message was not read for %v", e.timeout)
}

// tooLargeError reports a response over Limits.MaxSendBytes.
type tooLargeError struct{ max int }

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("server: the response is larger than %d bytes", e.max)
}

// unknownSignalError reports a signal that the Snapshotter does not have.
type unknownSignalError struct{ name string }

func (e *unknownSignalError) Error() string { return fmt.Sprintf("server: no signal %q", e.name) }

// invalidError reports everything that is wrong with a request.
type invalidError struct {
	violations []*errdetails.BadRequest_FieldViolation
}

func (e *invalidError) add(field, format string, args ...any) {
	e.violations = append(e.violations, &errdetails.BadRequest_FieldViolation{
		Field: field, Description: fmt.Sprintf(format, args...),
	})
}

func (e *invalidError) Error() string {
	const shown = 8 // the rest is in the details
	var text []string
	for i, v := range e.violations {
		if i == shown {
			text = append(text, fmt.Sprintf("and %d more", len(e.violations)-shown))
			break
		}
		if v.GetField() == "" {
			text = append(text, v.GetDescription())
			continue
		}
		text = append(text, v.GetField()+": "+v.GetDescription())
	}
	return "invalid request: " + strings.Join(text, "; ")
}

// toStatus returns the status that a caller is told of err. An error that is the server's own fault is told
// as INTERNAL with a fixed text and a new request id; its cause is for the log.
func toStatus(ctx context.Context, err error) error {
	var (
		invalid       *invalidError
		unknownSignal *unknownSignalError
		tooLarge      *tooLargeError
		subscribers   *subscribersError
		slow          *slowReaderError
		denied        *deniedError
		credential    *credentialError
		method        *unknownMethodError
		connections   *connectionLimitError
		process       *processError
		reporter      *reporterError
		calls         *callLimitError
		violations    *protovalidate.ValidationError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return refuse(reasonInvalidFields, invalid.Error(), &errdetails.BadRequest{FieldViolations: invalid.violations})
	case errors.As(err, &violations):
		return toStatus(ctx, fieldViolations(violations.ToProto()))
	case errors.As(err, &unknownSignal):
		return refuse(reasonUnknownSignal, fmt.Sprintf("this server has no custom signal %q", unknownSignal.name),
			&errdetails.ResourceInfo{ResourceType: "headroom.v1.Signal", ResourceName: unknownSignal.name})
	case errors.Is(err, errStarting), errors.Is(err, snapshot.ErrInactive):
		return refuse(reasonStarting, "the server is starting: no sample was taken yet", retryAfter(250*time.Millisecond))
	case errors.Is(err, errDraining):
		return refuse(reasonDraining, "the server is shutting down", retryAfter(time.Second))
	case errors.As(err, &tooLarge):
		return refuse(reasonTooLarge, fmt.Sprintf("the response would be larger than %d bytes: ask for a shorter duration, "+
			"for one resource at a time, or for fewer transitions", tooLarge.max))
	case errors.As(err, &subscribers):
		return refuse(reasonSubscribers, subscribers.Error(), retryAfter(5*time.Second))
	case errors.As(err, &slow):
		return refuse(reasonSlowReader, fmt.Sprintf("a message of this stream was not read for %v: read all of them, "+
			"or ask for a longer interval", slow.timeout), retryAfter(time.Second))
	case errors.Is(err, errInstanceChanged):
		return refuse(reasonInstanceChanged, "the transition is of another run of the server: take the present severity "+
			"for what was missed")
	case errors.Is(err, severity.ErrEvicted):
		return refuse(reasonHistoryEvicted, fmt.Sprintf("more than %d transitions followed: take the present severity for "+
			"what was missed", severity.HistorySize))
	case errors.As(err, &process):
		return refuseProcess(process)
	case errors.As(err, &reporter):
		return refuse(reasonReporterSilent, fmt.Sprintf("reporter %q of this identity states no memory: report it, then "+
			"watch", reporter.name), retryAfter(time.Second))
	case errors.Is(err, errReporterChanged):
		return refuse(reasonReporterChanged, "the reporter states another maximum: watch it anew", retryAfter(time.Second))
	case errors.Is(err, snapshot.ErrReporters):
		return refuse(reasonReporters, "this server keeps as many reporters or custom signals as it may; "+
			"some are forgotten when they fall silent", retryAfter(5*time.Second))
	case errors.Is(err, errReportsDisabled):
		return refuse(reasonReportsDisabled, "this server takes no load reports")
	case errors.As(err, &denied):
		return refuse(reasonRoleRequired, denied.Error())
	case errors.As(err, &credential):
		return refuse(credential.reason, credential.Error())
	case errors.As(err, &method):
		return refuse(reasonUnknownMethod, method.Error())
	case errors.As(err, &connections):
		return refuse(reasonConnections, connections.Error(), retryAfter(time.Second))
	case errors.As(err, &calls):
		return refuse(reasonCalls, calls.Error(), retryAfter(time.Second))
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(reasonDeadline, "the deadline of the call passed")
	case errors.Is(err, context.Canceled):
		return refuse(reasonCancelled, "the call was cancelled")
	}
	if told := permitStatus(err); told != nil {
		return told
	}
	if told := taskStatus(err); told != nil {
		return told
	}
	if told := diagnosticsStatus(err); told != nil {
		return told
	}
	return foreignStatus(err)
}

// foreignStatus handles what is no error of this package: the statuses of other services and of the transport,
// which pass, and everything else, which is a fault of the server.
func foreignStatus(err error) error {
	st, ok := status.FromError(err)
	if !ok || st.Code() == codes.Internal || st.Code() == codes.Unknown {
		return refuse(reasonInternal, "internal error; the server's log has the cause under this request id",
			&errdetails.RequestInfo{RequestId: rand.Text()})
	}
	return st.Err()
}

func fieldViolations(violations *validate.Violations) *invalidError {
	invalid := &invalidError{}
	for _, v := range violations.GetViolations() {
		invalid.add(protovalidate.FieldPathString(v.GetField()), "%s", v.GetMessage())
	}
	return invalid
}

// refuseProcess says the same of a process that there is not and of one that the caller may not know of.
func refuseProcess(err *processError) error {
	resource := &errdetails.ResourceInfo{
		ResourceType: "headroom.v1.Process", ResourceName: strconv.FormatInt(err.pid, 10),
	}
	if err.ended {
		return refuse(reasonProcessEnded, fmt.Sprintf("process %d has ended", err.pid), resource)
	}
	return refuse(reasonNoProcess, fmt.Sprintf("there is no process %d that the caller may watch", err.pid), resource)
}

func refuse(reason, text string, details ...protoadapt.MessageV1) error {
	code, ok := reasonCodes[reason]
	if !ok {
		code = codes.Unknown // a reason without a row; a test looks for them
	}
	st := status.New(code, text)
	info := &errdetails.ErrorInfo{Domain: errorDomain, Reason: reason}
	detailed, err := st.WithDetails(append([]protoadapt.MessageV1{info}, details...)...)
	if err != nil {
		return st.Err() // a detail that cannot be encoded; the code and the text still hold
	}
	return detailed.Err()
}

func retryAfter(d time.Duration) *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
}

// requestID returns the id that toStatus gave to an INTERNAL error, or "".
func requestID(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RequestInfo); ok {
			return info.GetRequestId()
		}
	}
	return ""
}
