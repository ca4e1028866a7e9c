package snapshot

import (
	"cmp"
	"slices"
	"time"
)

// State is a verdict. The numbers equal those of headroom.v1.LoadState and never change.
type State uint8

// The verdicts.
const (
	StateIdle       State = 1 // within the limit
	StateOverloaded State = 2 // over it
	StateUnknown    State = 3 // not judged: no reading, or too old a one. It is not idle.
	StateDisabled   State = 4 // switched off
)

// String returns the lower-case name of the verdict.
func (s State) String() string {
	switch s {
	case StateIdle:
		return "idle"
	case StateOverloaded:
		return "overloaded"
	case StateDisabled:
		return "disabled"
	default:
		return "unknown"
	}
}

// Status is the judgement of all signals over one window.
type Status struct {
	// Window is the length of the window.
	Window time.Duration

	// State is overloaded when any signal is, else unknown when none is known or one is unknown that is not
	// to be ignored (see [StalePolicy]), else idle.
	State State

	// Signals are the judgements: the built-in signals in the order CPU, memory, event loop, client, then
	// pressure on CPU, memory and I/O where it is measured, then the program's own by name.
	Signals []SignalStatus
}

// SignalStatus is the judgement of one signal over one window.
type SignalStatus struct {
	// Signal and Resource name the signal.
	Signal   string
	Resource Resource

	// State is the verdict.
	State State

	// Actual is the time-weighted share of the window in which the signal was overloaded, in [0, 1]; it
	// means nothing while State is unknown or disabled. Limit is the threshold: strictly over it is overloaded.
	Actual, Limit float64

	// Value and Bound are those of the newest good reading, and Age is how old it is, where HasValue is
	// true.
	Value, Bound float64
	Age          time.Duration
	HasValue     bool

	// Reason says why the state is unknown, why the last reading could not be made, or that it is overdue.
	// Empty when all is well.
	Reason string

	// Count is the number of snapshots in the window, unknown ones included.
	Count int
}

// Binding returns what makes the status overloaded, the furthest over its threshold first.
func (s *Status) Binding() []SignalStatus {
	var over []SignalStatus
	for _, sig := range s.Signals {
		if sig.State == StateOverloaded {
			over = append(over, sig)
		}
	}
	slices.SortStableFunc(over, func(a, b SignalStatus) int {
		return cmp.Compare(b.Actual/b.Limit, a.Actual/a.Limit)
	})
	return over
}

// View is everything at one instant.
type View struct {
	// Version grows with every snapshot and every change of a verdict, and Verdict with every change of a
	// verdict, of a snapshot or of a status. Neither ever falls, over several Runs of one Snapshotter.
	Version, Verdict uint64

	// Time and At are the instant, by the wall clock and by the clock of the Snapshotter.
	Time time.Time
	At   time.Duration

	// Newest holds the newest snapshot of each signal, good or not, in the order of Status.Signals. A
	// disabled signal and one never read have none.
	Newest []Snapshot

	// Current and Historical are the two judgements.
	Current, Historical Status
}
