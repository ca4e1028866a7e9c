package permit

import "time"

// Resource says what may be leased of one resource, and by whom.
type Resource struct {
	// Name is 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit.
	Name string

	// Limit is how many permits may be in use, from 0 to MaxLimit.
	Limit int64

	// Law names what the limit follows: "fixed" where only an operator changes it, or the name of a law.
	Law string

	// Default is what an identity may do that Grants does not name. Its zero value lets every worker lease.
	Default Grant

	// Grants is what identities may do, by name, such as "uid:1000".
	Grants map[string]Grant

	// FloorRatio is the share of the limit that a band of lower priority keeps while higher ones want all, in
	// [0, 0.5]. It is one permit at least, in turns where there are fewer than bands. 0 means 0.1.
	FloorRatio float64
}

// Grant is what one identity may do with a resource.
type Grant struct {
	// Denied forbids to lease it at all.
	Denied bool

	// Max is the most permits that the sessions of the identity may hold together; 0 is no bound of its own.
	Max int64

	// Weight is the identity's share against other identities, from 1 to MaxWeight; 0 is 1.
	Weight int

	// MaxPriority is the highest band that the identity may wait in; a report that asks for more gets this.
	MaxPriority int

	// MaxGuarantee bounds the guarantees of the identity together; 0 is none.
	MaxGuarantee int64
}

// Config says what a [Ledger] accounts for.
type Config struct {
	// Epoch is this life of the ledger: greater than that of every earlier one. At least 1.
	Epoch int64

	// TTL, Grace and Heartbeat are stated to every session. The defaults are 5 s, 2 s and 1 s. Sessions that begin
	// while there are more than 500 for each second of Heartbeat are told a longer one, up to a third of TTL.
	TTL, Grace, Heartbeat time.Duration

	// Resources are those that exist from the start.
	Resources []Resource

	// Recovered are the ceilings that an earlier life recorded; see [Ledger.TakeRecords]. Until each of their
	// sessions has come back, or TTL and Grace are over, they are charged as unknown.
	Recovered []Record

	// Amnesia is whether nothing is known of an earlier life that may have been: until TTL and Grace are over
	// every resource is charged in full, and workers that come back take over from that what they state.
	Amnesia bool

	// Window is how long what an earlier life granted may be in use yet, where that is longer than TTL and Grace
	// together: its own may have been longer. It takes their place in what is said of Recovered and Amnesia.
	Window time.Duration

	// MaxSessions bounds the sessions, and MaxSessionsPerIdentity those of one identity. The defaults are
	// 16,384 and 256; the second does not bind Unbounded identities.
	MaxSessions, MaxSessionsPerIdentity int

	// ReportRate is how many sessions a second are asked to report that their target was lowered, where one cut lowers
	// so many that it takes them 10 ms or more, and nobody waits for what it takes back: they may put off that report
	// by so long, up to a third of TTL. The default is 10,000.
	ReportRate int

	// Instance and Version are stated to every session.
	Instance, Version string

	// NewSession makes a session id. It must be random.
	NewSession func() SessionID
}

// Party is who attaches, as the server knows it.
type Party struct {
	// Identity owns the session, such as "uid:1000".
	Identity string

	// Unbounded is for operators: every priority and guarantee, no bound on sessions.
	Unbounded bool

	// PID is that of a worker on the same host, for people; 0 when it is not known.
	PID int

	// Local is whether PID is known to be the worker itself, and not somebody who speaks for it.
	Local bool

	// Resident is for what the server itself leases for others: its session ends by [Ledger.End] alone, however
	// long nothing is heard of it, and no bound on sessions holds for it.
	Resident bool
}

// Record is a ceiling that must be written down before the charge of an instance may pass the one before it, so
// that a later life knows what this one may have granted.
type Record struct {
	Epoch    int64
	Instance InstanceID
	Identity string
	Session  SessionID
	Resource string

	// Ceiling is the most that the instance is charged for; 0 when it was ended.
	Ceiling int64
}
