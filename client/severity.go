package client

import (
	"context"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
)

// Severity is how severe the pressure is on the machine or on a process.
type Severity struct {
	// Level is the level now: 0 is normal, and from 1 to it all are in effect. MaxLevel is the highest
	// that there is; 0 where there are none. Neither is more than [severity.MaxLevels].
	Level, MaxLevel int

	// Since is when the level was reached, by the server's wall clock; zero where that is not known.
	Since time.Time

	// Sequence is that of the last transition, 0 before the first.
	Sequence uint64

	// Evidence is what fires for the level. Empty at level 0, and while the level stays only for its dwell or
	// because something is unknown.
	Evidence []severity.Evidence

	// Unknown are the conditions that could not be judged, and why. They hold the level where it depends on
	// them.
	Unknown []severity.Evidence

	// Fraction is how far the way to the next level is gone, in [0, 1], where HasFraction is true: not at
	// the highest level, and not while it is unknown.
	Fraction    float64
	HasFraction bool

	// Exhaustion is how soon the memory will have run out, where HasExhaustion is true: not when it does
	// not fall, when that is out of sight, or when no trend fits.
	Exhaustion    time.Duration
	HasExhaustion bool

	// InstanceID identifies one run of the server, whose order Sequence is of.
	InstanceID string

	// ServerVersion names the server's version, such as "0.1.0".
	ServerVersion string
}

// Severity asks for the present severity of the machine. It blocks until the server answered or ctx is done,
// and retries nothing.
func (c *Client) Severity(ctx context.Context) (Severity, error) {
	s, _, err := c.Transitions(ctx, 0)
	return s, err
}

// Transitions asks for the present severity of the machine and for its last n transitions, from 0 to 4,096,
// oldest first; fewer where fewer are kept. Their At is zero. It blocks until the server answered or ctx is
// done, and retries nothing.
func (c *Client) Transitions(ctx context.Context, n int) (Severity, []severity.Transition, error) {
	const op = "get severity"
	if n < 0 || n > severity.HistorySize {
		return Severity{}, nil, fmt.Errorf("client: %s: %d transitions: want 0 to %d", op, n, severity.HistorySize)
	}
	p, err := c.severity.GetSeverity(ctx, &headroomv1.GetSeverityRequest{MaxTransitions: int32(n)})
	if err != nil {
		return Severity{}, nil, c.callError(ctx, op, err)
	}
	c.heard(p.GetInstanceId(), p.GetServerVersion())
	transitions := make([]severity.Transition, len(p.GetTransitions()))
	for i, t := range p.GetTransitions() {
		transitions[i] = wire.TransitionFrom(t)
	}
	return severityFrom(p.GetSeverity(), p.GetInstanceId(), p.GetServerVersion()), transitions, nil
}

func severityFrom(p *headroomv1.Severity, instanceID, version string) Severity {
	s := Severity{
		Level:         wire.LevelFrom(p.GetLevel()),
		MaxLevel:      wire.LevelFrom(p.GetMaxLevel()),
		Sequence:      wire.SequenceFrom(p.GetSequence()),
		Evidence:      wire.EvidenceFrom(p.GetEvidence(), severity.True),
		Unknown:       wire.EvidenceFrom(p.GetUnknown(), severity.Unknown),
		InstanceID:    instanceID,
		ServerVersion: version,
	}
	if p.GetSinceTime() != nil {
		s.Since = p.GetSinceTime().AsTime()
	}
	if p != nil && p.Fraction != nil {
		s.Fraction, s.HasFraction = max(0, min(p.GetFraction(), 1)), true
	}
	if p.GetExhaustionIn() != nil {
		s.Exhaustion, s.HasExhaustion = max(p.GetExhaustionIn().AsDuration(), 0), true
	}
	return s
}
