package severity

import "time"

// Transition is one step from a level to the next, up or down.
type Transition struct {
	// From and To are the levels; they differ by one.
	From, To int

	// Sequence counts the transitions of one Engine, from 1, without gaps.
	Sequence uint64

	// At is when it happened by the clock that decides, and Time by the wall clock.
	At   time.Duration
	Time time.Time

	// Evidence is why, never empty: up, each leaf that fired, of the entered level's own condition if that
	// holds and else of the level that is the target; down, each leaf of the left level that let go.
	Evidence []Evidence
}

// Up reports whether the transition raises the level.
func (t *Transition) Up() bool { return t.To > t.From }

// Evidence is what one leaf of a condition found.
type Evidence struct {
	// Level is the level whose condition the leaf belongs to.
	Level int

	// Text is the leaf as text.
	Text string

	// Finding is its verdict, with value, bound, unit and age.
	Finding
}

// EventKind is what handlers are told.
type EventKind uint8

// The events.
const (
	Entered   EventKind = 1 // a level was entered, and is in effect
	Left      EventKind = 2 // a level is being left, and is still in effect
	Remaining EventKind = 3 // a level stays in effect
	Normal    EventKind = 4 // level 0 was reached again
)

// String returns the lower-case name of the event.
func (k EventKind) String() string {
	switch k {
	case Entered:
		return "entered"
	case Left:
		return "left"
	case Remaining:
		return "remaining"
	case Normal:
		return "normal"
	default:
		return "unknown"
	}
}

// Event is one thing that handlers are told.
type Event struct {
	// Kind is what happened.
	Kind EventKind

	// Level is the level that was entered, is being left or remains; 0 for Normal.
	Level int

	// Transition is the one behind Entered, Left and Normal. For Remaining it is zero.
	Transition Transition
}

// Hold says why the level is not at its target.
type Hold uint8

// The reasons.
const (
	NotHeld     Hold = 0 // it is at its target
	HeldUnknown Hold = 1 // a condition is unknown
	HeldEnter   Hold = 2 // a condition holds, but not for long enough yet; see Level.HoldFor
	HeldTrend   Hold = 3 // a condition holds, but it is getting better already; see Level.Unless
	HeldDwell   Hold = 4 // a level was entered too short a time ago; see Level.Dwell
	HeldStopped Hold = 5 // the Engine is stopped
)

// String returns the reason in a word, or "".
func (h Hold) String() string {
	switch h {
	case HeldUnknown:
		return "unknown"
	case HeldEnter:
		return "hold_for"
	case HeldTrend:
		return "trend"
	case HeldDwell:
		return "dwell"
	case HeldStopped:
		return "stopped"
	default:
		return ""
	}
}

// Outcome is what one Step decided. Events, Unknown and Firing are overwritten by the next Step; a Transition
// and its evidence are the caller's to keep.
type Outcome struct {
	// Level is the level now; all from 1 to it are in effect.
	Level int

	// Held says why Level is not where the conditions alone would have it.
	Held Hold

	// Fraction is how far the way from Level to the next one is gone, in [0, 1]; 1 if the next one's
	// condition holds. Each leaf counts from the bound that the level below has for the same thing to its
	// own, or from where there is no pressure at all; "any" takes the furthest leaf and "all" the least far.
	// It is 0 at the highest level and while nothing is known.
	Fraction float64

	// Events are what to tell, in order.
	Events []Event

	// Firing are the leaves by which Level holds, if they fire.
	Firing []Evidence

	// Unknown are all leaves of which nothing is known, and why.
	Unknown []Evidence

	// Sequence is that of the last transition, or 0.
	Sequence uint64
}
