package pool

import "github.com/headroom-rpc/headroom/snapshot"

// Profile selects the rules by which a pool scales and the defaults of its [Options]. docs/pool.md sets the profiles
// side by side.
type Profile uint8

// The profiles.
const (
	// ProfileHeadroom has the limit computed by a law of package limit, about once a second.
	ProfileHeadroom = Profile(snapshot.ProfileHeadroom)

	// ProfileCrawleePython follows crawlee-python: it starts at 10, runs 100 at most, starts evenly within a minute,
	// and goes on after a task that took too long.
	ProfileCrawleePython = Profile(snapshot.ProfileCrawleePython)

	// ProfileCrawleeJS follows Crawlee for JavaScript: it starts at the minimum and runs 200 at most.
	ProfileCrawleeJS = Profile(snapshot.ProfileCrawleeJS)
)

// String returns the name of the profile as configuration spells it: "headroom", "crawlee-python" or "crawlee-js".
func (p Profile) String() string { return snapshot.Profile(p).String() }

// crawlee reports whether the rules are those of one of the Crawlees.
func (p Profile) crawlee() bool { return p == ProfileCrawleePython || p == ProfileCrawleeJS }
