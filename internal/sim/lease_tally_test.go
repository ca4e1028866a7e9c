package sim

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// A tally knows what really runs, whoever holds which permit by what the server thinks. It keeps the first
// fault, and a log. It is safe for concurrent use.
type tally struct {
	begin time.Time

	mu        sync.Mutex
	resources map[string]*counted
	log       []string
	fault     error
	led       int // lines of the log up to the fault
	load      tallied
}

// tallied is how much happened.
type tallied struct {
	starts, lost, waits, refused, observed   int
	held                                     int // by HoldPermit
	crashes, partitions, cuts, pauses, kicks int
	restarts, kills, limits, severities      int
}

// counted is what runs of one resource.
type counted struct {
	cap    int64 // the highest limit since the charges were last seen to be within the limit
	total  int64
	runs   map[*run]struct{}
	fences map[permit.Fence]string
}

// A run is work under permits, from when it started until it ended or noticed that it lost them.
type run struct {
	who      string
	resource string
	count    int64
}

func newTally() *tally { return &tally{begin: time.Now(), resources: make(map[string]*counted)} }

func (y *tally) tell(format string, args ...any) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.tellLocked(format, args...)
}

func (y *tally) tellLocked(format string, args ...any) {
	y.log = append(y.log, fmt.Sprintf("%9.3f ", time.Since(y.begin).Seconds())+fmt.Sprintf(format, args...))
}

func (y *tally) fail(format string, args ...any) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.failLocked(format, args...)
}

func (y *tally) failLocked(format string, args ...any) {
	y.tellLocked("FAULT: "+format, args...)
	if y.fault == nil {
		y.led = len(y.log)
		y.fault = fmt.Errorf("at %v: "+format, append([]any{time.Since(y.begin)}, args...)...)
	}
}

// count notes that something happened.
func (y *tally) count(what func(*tallied)) {
	y.mu.Lock()
	defer y.mu.Unlock()
	what(&y.load)
}

func (y *tally) resource(name string) *counted {
	c := y.resources[name]
	if c == nil {
		c = &counted{runs: make(map[*run]struct{}), fences: make(map[permit.Fence]string)}
		y.resources[name] = c
	}
	return c
}

// limit notes that the limit may be n from now on.
func (y *tally) limit(resource string, n int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	c := y.resource(resource)
	c.cap = max(c.cap, n)
	y.tellLocked("limit of %s: %d", resource, n)
}

// start notes that work begins.
func (y *tally) start(who, resource string, n int64, fence permit.Fence) *run {
	y.mu.Lock()
	defer y.mu.Unlock()
	c := y.resource(resource)
	r := &run{who, resource, n}
	c.runs[r] = struct{}{}
	c.total += n
	y.load.starts++
	y.tellLocked("%s starts %d of %s under %d.%d, %d run", who, n, resource, fence.Epoch, fence.Counter, c.total)
	if c.total > c.cap {
		y.failLocked("%d of %s run, and the limit is %d", c.total, resource, c.cap)
	}
	if other, ok := c.fences[fence]; ok || fence == (permit.Fence{}) {
		y.failLocked("%s starts under the fence %v of %s, as did %q", who, fence, resource, other)
	}
	c.fences[fence] = who
	return r
}

// end notes that work has ended, if it has not.
func (y *tally) end(r *run, how string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.endLocked(r, how)
}

func (y *tally) endLocked(r *run, how string) {
	c := y.resource(r.resource)
	if _, ok := c.runs[r]; !ok {
		return
	}
	delete(c.runs, r)
	c.total -= r.count
	y.tellLocked("%s %s %d of %s, %d run", r.who, how, r.count, r.resource, c.total)
}

// die notes that all work of a program has ended with it.
func (y *tally) die(who string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, c := range y.resources {
		for r := range c.runs {
			if strings.HasPrefix(r.who, who+"/") {
				y.endLocked(r, "dies with")
			}
		}
	}
}

// observe compares an account with what ran all the while that the call for it lasted.
func (y *tally) observe(resource string, call func() (permit.ResourceAccount, error)) (permit.ResourceAccount, error) {
	y.mu.Lock()
	c := y.resource(resource)
	var before []*run
	for r := range c.runs {
		before = append(before, r)
	}
	y.mu.Unlock()
	account, err := call()
	if err != nil {
		return account, err
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.load.observed++
	var ran int64
	for _, r := range before {
		if _, still := c.runs[r]; still {
			ran += r.count
		}
	}
	if ran > account.Charge+account.Unknown {
		y.failLocked("%d of %s run, and the server charges %d and %d unknown", ran, resource, account.Charge, account.Unknown)
	}
	return account, nil
}

// settle notes that the charges are within the limit n.
func (y *tally) settle(resource string, n int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.resource(resource).cap = n
}

// history returns the lines of the log that led to the fault, or the last ones.
func (y *tally) history() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	const lines = 150
	end := len(y.log)
	if y.fault != nil {
		end = min(end, y.led+5)
	}
	return strings.Join(y.log[max(0, end-lines):end], "\n")
}
