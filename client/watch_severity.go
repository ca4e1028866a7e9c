package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxWaiting is how many updates may wait for a slow loop before the stream is ended, to be resumed when they
// were taken: as many as the server keeps.
const maxWaiting = severity.HistorySize

var (
	errFull    = errors.New("client: the reader is slow")
	errSkipped = errors.New("client: a transition is missing from the stream")
)

// SeverityOptions says whose severity to follow. The zero value follows that of the machine.
type SeverityOptions struct {
	// PID is a process of the server's host, by its id there, and MaxMemory what it may use, in bytes. The
	// caller must run as the same user as the process or have the role observer. Both or neither.
	PID, MaxMemory int64

	// Reporter is a reporter of the caller's own identity that states its memory by ReportLoad. Not with PID.
	Reporter string

	// Task is the id of a task that has a memory limit, of the caller's own identity unless it has the role observer.
	// Not with PID or Reporter.
	Task string
}

// ofProcess reports whether the severity is that of a process, which has no position to resume from.
func (o SeverityOptions) ofProcess() bool { return o != SeverityOptions{} }

func (o SeverityOptions) request() (*headroomv1.WatchSeverityRequest, error) {
	var faults []error
	if o.PID < 0 {
		faults = append(faults, fmt.Errorf("PID %d: want at least 1", o.PID))
	}
	if o.PID != 0 && o.Reporter != "" {
		faults = append(faults, fmt.Errorf("PID %d and Reporter %q: want one of the two", o.PID, o.Reporter))
	}
	if o.Task != "" && (o.PID != 0 || o.Reporter != "") {
		faults = append(faults, fmt.Errorf("Task %q: want it without PID and Reporter", o.Task))
	}
	if (o.PID != 0) != (o.MaxMemory != 0) || o.MaxMemory < 0 {
		faults = append(faults, fmt.Errorf("MaxMemory %d: want at least 1 with PID, 0 without", o.MaxMemory))
	}
	switch {
	case len(faults) > 0:
		return nil, errors.Join(faults...)
	case o.PID != 0:
		return &headroomv1.WatchSeverityRequest{Process: &headroomv1.ProcessScope{
			Process: &headroomv1.ProcessScope_Pid{Pid: o.PID}, MaxBytes: o.MaxMemory,
		}}, nil
	case o.Reporter != "":
		return &headroomv1.WatchSeverityRequest{Process: &headroomv1.ProcessScope{
			Process: &headroomv1.ProcessScope_Reporter{Reporter: o.Reporter},
		}}, nil
	case o.Task != "":
		return &headroomv1.WatchSeverityRequest{Process: &headroomv1.ProcessScope{
			Process: &headroomv1.ProcessScope_TaskId{TaskId: o.Task},
		}}, nil
	default:
		return &headroomv1.WatchSeverityRequest{}, nil
	}
}

// Gap says why transitions may be missing before an update.
type Gap uint8

// The gaps.
const (
	NoGap      Gap = 0 // none is missing
	GapRestart Gap = 1 // the server was restarted: the order began anew, and so did the level
	GapEvicted Gap = 2 // the server does not keep what was not received yet
	GapProcess Gap = 3 // the stream of a process broke: its order begins with each stream
)

// String returns the reason in a few words, or "".
func (g Gap) String() string {
	switch g {
	case GapRestart:
		return "the server was restarted"
	case GapEvicted:
		return "the server no longer has them"
	case GapProcess:
		return "the stream of the process broke"
	default:
		return ""
	}
}

// SeverityUpdate is one thing that a stream of severity tells. It belongs to who received it.
type SeverityUpdate struct {
	// Severity is the severity when the server sent the update. Its level may be ahead of the transitions
	// told so far, and its Sequence then says which are still to come.
	Severity Severity

	// Transition is the next transition, or nil in an update that brings none. Its At is zero.
	Transition *severity.Transition

	// Gap says why transitions before this update are missing. Severity is then where to go on from: the
	// next transition is the one after Severity.Sequence.
	Gap Gap

	// Received is when the update arrived, by this host's clocks.
	Received time.Time

	// Stale is whether the stream is broken: Severity is what was last known, or zero where nothing was.
	Stale bool

	// Cause is why it is stale, else nil.
	Cause error

	first bool // of the iteration, and not stale: the transitions follow on it
}

// WatchSeverity follows the severity: it yields the present one at once, then each transition in its order,
// and now and then, at least once per max_silence of the server, the severity alone.
//
// No transition is skipped or told twice, over reconnects too: the stream is resumed after the last one. When
// that is not possible it says so by [SeverityUpdate.Gap] and goes on from the present severity. Up to 4,096
// updates wait for a slow loop; then the stream is ended, and resumed when the loop has taken them.
//
// When the stream breaks or falls silent it yields the last known severity as stale, with the cause, and
// retries and ends as [Client.Snapshots] does. Faults of the options are yielded as the last error too.
//
// The iterator may be used more than once; each time is a stream of its own.
func (c *Client) WatchSeverity(ctx context.Context, o SeverityOptions) iter.Seq2[SeverityUpdate, error] {
	return func(yield func(SeverityUpdate, error) bool) {
		req, err := o.request()
		if err != nil {
			yield(SeverityUpdate{}, fmt.Errorf("client: watch severity: %w", err))
			return
		}
		w := &severityWatch{client: c, req: req, resumes: !o.ofProcess(), box: newMailbox(superfluous)}
		iterate(ctx, w.box, w.subscribe().receive, yield)
	}
}

// superfluous reports whether the next update tells all that the waiting one does.
func superfluous(waiting, _ SeverityUpdate) bool {
	return waiting.Transition == nil && waiting.Gap == NoGap && !waiting.first
}

// severityWatch is one iteration. Only its receiver uses it, but for box.
type severityWatch struct {
	client  *Client
	req     *headroomv1.WatchSeverityRequest
	resumes bool
	box     *mailbox[SeverityUpdate]

	newest   SeverityUpdate // its Severity may be ahead of sequence
	sequence uint64         // of the last transition received, or of the severity to go on from
	known    bool           // whether anything was received
	refused  bool           // whether the server cannot resume after sequence
	started  bool           // whether a message of this stream was received
}

func (w *severityWatch) subscribe() *subscription[headroomv1.WatchSeverityResponse] {
	return &subscription[headroomv1.WatchSeverityResponse]{
		client: w.client,
		what:   "severity",
		open:   w.open,
		started: func(m *headroomv1.WatchSeverityResponse) *Started {
			if m.GetStarted() == nil {
				return nil
			}
			return startedFrom(m.GetStarted())
		},
		accept: w.accept,
		broken: w.broken,
		again:  w.again,
	}
}

func (w *severityWatch) open(ctx context.Context, o ...grpc.CallOption) (
	grpc.ServerStreamingClient[headroomv1.WatchSeverityResponse], error,
) {
	w.started = false
	w.req.After = nil
	if w.known && w.resumes && !w.refused {
		w.req.After = &headroomv1.SeverityPosition{
			InstanceId: w.newest.Severity.InstanceID, Sequence: int64(w.sequence),
		}
	}
	return w.client.severity.WatchSeverity(ctx, w.req, o...)
}

func (w *severityWatch) accept(m *headroomv1.WatchSeverityResponse, started *Started) (news bool, _ error) {
	next := SeverityUpdate{
		Severity: severityFrom(m.GetSeverity(), started.InstanceID, started.ServerVersion),
		Received: time.Now(),
	}
	if !w.started {
		next.first = !w.known
		if next.Gap = w.gap(next.Severity.InstanceID); next.Gap != NoGap || next.first {
			w.sequence = next.Severity.Sequence
		}
		w.started, w.known, w.refused = true, true, false
	}
	if m.GetTransition() != nil {
		t := wire.TransitionFrom(m.GetTransition())
		switch {
		case t.Sequence > w.sequence+1:
			return news, fmt.Errorf("%w: %d came after %d", errSkipped, t.Sequence, w.sequence)
		case t.Sequence == w.sequence+1:
			w.sequence, next.Transition = t.Sequence, &t
		}
	}
	w.newest = next
	if w.box.put(next) >= maxWaiting {
		return true, errFull
	}
	return true, nil
}

// gap returns why transitions before the first message of a stream may be missing.
func (w *severityWatch) gap(instanceID string) Gap {
	switch {
	case !w.known:
		return NoGap
	case w.newest.Severity.InstanceID != instanceID:
		return GapRestart
	case !w.resumes:
		return GapProcess
	case w.refused:
		return GapEvicted
	default:
		return NoGap
	}
}

// broken makes the newest severity stale. The same cause again is no news.
func (w *severityWatch) broken(cause error) {
	if was := w.newest.Cause; was != nil && was.Error() == cause.Error() {
		return
	}
	w.newest.Transition, w.newest.Gap, w.newest.first = nil, NoGap, false
	w.newest.Stale, w.newest.Cause = true, cause
	w.box.put(w.newest)
}

// again waits until a slow loop has taken everything, and gives up to resume where the server cannot.
func (w *severityWatch) again(ctx context.Context, received bool, err error) bool {
	switch {
	case errors.Is(err, errFull):
		w.client.log.Info("stream of severity ended for a slow reader", "sequence", w.sequence)
		w.box.awaitEmpty(ctx, w.client.closed)
		return true
	case !received && w.req.After != nil && status.Code(err) == codes.OutOfRange:
		w.client.log.Info("stream of severity cannot be resumed", "after", w.sequence, "err", err)
		w.refused = true
		return true
	default:
		return false
	}
}
