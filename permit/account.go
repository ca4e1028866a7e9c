package permit

import "time"

// ResourceAccount is the account of one resource at one time. Limit = free + Charge + Unknown, where free is
// negative after a cut until enough has ended. Limit is 0, and Binding the reason of Mode, while Mode is not normal.
type ResourceAccount struct {
	Resource        string
	Limit           int64
	Charge, Unknown int64
	Held, Want      int64
	Sessions        int
	Law, Binding    string
	Mode            Mode
	OldestWait      time.Duration // 0 when none waits
	Mismatches      int64         // reports of more than was ever granted
}

// SessionState is the state of a session. The numbers equal those of headroom.v1.SessionState.
type SessionState uint8

// The states.
const (
	SessionLive    SessionState = 1 // attached
	SessionSuspect SessionState = 2 // its stream broke, or it was kicked; its charge stays
)

// SessionAccount is one session at one time, without its secret.
type SessionAccount struct {
	Name     string // see [SessionID.Name]
	Client   string
	Party    Party
	Instance InstanceID
	State    SessionState
	Silence  time.Duration // since the last frame
	Shares   []SessionShare
}

// SessionShare is one session's part of one resource.
type SessionShare struct {
	Resource                   string
	Charge, Held, Target, Want int64
	Guarantee, Limit           int64
	Priority, Weight           int
	OldestWait                 time.Duration // 0 when none waits
	Version                    int64
}

// Explanation says why sessions have as many permits of a resource as they have.
type Explanation struct {
	Account    ResourceAccount
	Share      SessionShare // summed over the sessions
	QueueAhead int64        // permits that others wait for and get first
	Wait       time.Duration
	HasWait    bool
	Reasons    []string
}
