package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// event is one thing that happened in a simulated world, as somebody sees it who sees all of it at once. The
// checker knows nothing else: neither the ledger nor the lessees.
type event struct {
	at       time.Duration // true time
	kind     eventKind
	worker   int
	resource int
	n        int64 // of permits, an epoch or a limit, or a version
	m        int64 // with account: unknown; with grant: the target
	fence    permit.Fence
	until    time.Duration
}

type eventKind int

const (
	serverUp   eventKind = iota // a life of the server begins: n is its epoch, m 1 if it knows of no earlier, until when that one's leases are over
	serverDown                  // it ends
	limitSet                    // an operator set the limit n
	account                     // the server's account of a resource: n charged, m unknown
	share                       // the server's charge n for a worker
	granted                     // a target left the server: n its version, m permits, from a fence on
	attached                    // the server took a worker's hello: n its epoch
	gaveUp                      // the server ended a worker's session: until when it may still have charged for it
	leased                      // a worker's lease holds until a time
	started                     // n permits' worth of work began
	ended                       // it ended
	strayed                     // what a worker runs is no longer under a lease
	died                        // a worker is no more: until when its charge is to be back
	stolen                      // a session was given to another identity
	recovered                   // the server no longer charges for an earlier life
	calm                        // faults have ended, and what they did is over
	waiting                     // a worker that runs nothing has waited since until, and may wait for n nanoseconds
	unused                      // since until permits are free, work waits and none starts; m as of waiting
)

func (k eventKind) String() string {
	return [...]string{"server up", "server down", "limit", "account", "share", "granted", "attached", "gave up",
		"leased", "started", "ended", "strayed", "died", "stolen", "recovered", "calm", "waiting", "unused"}[k]
}

func (e event) String() string {
	s := fmt.Sprintf("%13v %-11v worker %-3d resource %d n %d m %d", e.at, e.kind, e.worker, e.resource, e.n, e.m)
	if e.fence != (permit.Fence{}) {
		s += fmt.Sprintf(" fence %d/%d", e.fence.Epoch, e.fence.Counter)
	}
	if e.until != 0 {
		s += fmt.Sprintf(" until %v", e.until)
	}
	return s
}

// checker holds a history against what the protocol promises.
type checker struct {
	exclusive map[int]bool // resources whose limit was never above 1
	resources map[int]*checkedResource
	workers   map[int]*checkedWorker
	up, clear bool
	epoch     int64
	calmSince time.Duration
	unknownBy time.Duration // when nothing may be charged as unknown any more
}

type checkedResource struct {
	limit, outstanding int64 // outstanding is charge and unknown of the last account

	// overhang is by how much more than the limit was charged when a server forgot that. No server can know of
	// it: such work ends by itself.
	overhang int64

	running   int64 // under a lease, or one that has ended unseen
	accounted bool
	blocks    []fenceBlock // sorted
	greatest  permit.Fence
}

// fenceBlock says whose the fences from first on are.
type fenceBlock struct {
	first  permit.Fence
	worker int
}

type checkedWorker struct {
	leased, back time.Duration // back is when its charge must be 0; 0 for never
	epoch        int64         // in which it attached last
	gone         bool          // the server ended its session
	shares       map[int]*checkedShare
}

type checkedShare struct {
	running, charge int64
	version, target int64 // of the newest that was sent
	block, last     permit.Fence
	stray           int64
}

func newChecker(exclusive ...int) *checker {
	c := &checker{exclusive: map[int]bool{}, resources: map[int]*checkedResource{}, workers: map[int]*checkedWorker{}}
	for _, r := range exclusive {
		c.exclusive[r] = true
	}
	return c
}

func (c *checker) resource(i int) *checkedResource {
	r := c.resources[i]
	if r == nil {
		r = &checkedResource{}
		c.resources[i] = r
	}
	return r
}

func (c *checker) worker(i int) *checkedWorker {
	w := c.workers[i]
	if w == nil {
		w = &checkedWorker{shares: map[int]*checkedShare{}}
		c.workers[i] = w
	}
	return w
}

func (w *checkedWorker) share(resource int) *checkedShare {
	s := w.shares[resource]
	if s == nil {
		s = &checkedShare{}
		w.shares[resource] = s
	}
	return s
}

// observe takes the next event and returns what it breaks.
func (c *checker) observe(e event) error {
	w, r := c.worker(e.worker), c.resource(e.resource)
	s := w.share(e.resource)
	switch e.kind {
	case serverUp:
		if e.n <= c.epoch {
			return fmt.Errorf("epoch %d after %d", e.n, c.epoch)
		}
		c.up, c.clear, c.epoch, c.unknownBy = true, false, e.n, e.until
		for _, r := range c.resources {
			r.accounted = false // a new life may begin with more unknown than the limit
			if e.m != 0 {
				r.overhang += max(0, r.outstanding-r.limit)
			}
		}
		for _, w := range c.workers {
			if w.back != 0 {
				w.back = max(w.back, e.until)
			}
			for _, s := range w.shares {
				s.version = 0
			}
		}
	case serverDown:
		c.up = false
	case recovered:
		c.clear = true
	case limitSet:
		r.limit = e.n
	case account:
		sum := e.n + e.m
		before := r.outstanding
		first := !r.accounted
		r.outstanding, r.accounted = sum, true
		if sum > r.limit+r.overhang && !first && sum > before {
			return fmt.Errorf("charges and unknown rose from %d to %d over the limit of %d", before, sum, r.limit)
		}
		if e.at > c.unknownBy {
			r.overhang = min(r.overhang, max(0, r.running-sum))
		}
		if e.m > 0 && e.at > c.unknownBy {
			return fmt.Errorf("%d are still unknown after %v", e.m, c.unknownBy)
		}
		return c.sum(e)
	case share:
		s.charge = e.n
		if e.n > 0 && w.back != 0 && e.at > w.back {
			return fmt.Errorf("a dead worker's %d permits are not back by %v", e.n, w.back)
		}
		if !w.gone && e.at < w.leased && s.running > e.n && r.overhang == 0 {
			return fmt.Errorf("%d run with a charge of %d", s.running, e.n)
		}
	case granted:
		return c.grant(e, s, r)
	case attached:
		w.epoch, w.gone = e.n, false
		for _, s := range w.shares {
			s.version = 0
		}
	case gaveUp:
		w.gone = true
		for _, s := range w.shares {
			s.version = 0
		}
		if e.until != 0 {
			w.back = e.until
		}
	case leased:
		w.leased = e.until
	case started:
		return c.start(e, w, s, r)
	case ended:
		stray := min(s.stray, e.n)
		s.stray -= stray
		s.running -= e.n - stray
		r.running -= e.n - stray
	case strayed:
		for i, s := range w.shares {
			c.resource(i).running -= s.running
			s.stray += s.running
			s.running = 0
		}
	case died:
		w.back = e.until
		for i, s := range w.shares {
			c.resource(i).running -= s.running
			s.running, s.stray = 0, 0
		}
	case stolen:
		return fmt.Errorf("the session of worker %d was given to another identity", e.worker)
	case calm:
		c.calmSince = e.at
	case waiting, unused:
		since, bound := max(e.until, c.calmSince), time.Duration(e.n)
		if c.calmSince == 0 || e.at-since <= bound {
			return nil
		}
		if e.kind == waiting {
			return fmt.Errorf("work waits for %v without faults, more than %v", e.at-since, bound)
		}
		return fmt.Errorf("for %v without faults permits are free and work waits, more than %v", e.at-since, bound)
	}
	return nil
}

// sum compares the work that runs with the last account: while there is no server, with that of its last
// instant, as nothing can be granted.
func (c *checker) sum(e event) error {
	r := c.resource(e.resource)
	if r.running <= r.outstanding+r.overhang || !r.accounted {
		return nil
	}
	running := int64(0)
	for _, w := range c.workers {
		if s := w.shares[e.resource]; s != nil && e.at < w.leased && !w.gone {
			running += s.running
		}
	}
	if running > r.outstanding+r.overhang {
		return fmt.Errorf("%d run with charges and unknown of %d", running, r.outstanding)
	}
	return nil
}

func (c *checker) start(e event, w *checkedWorker, s *checkedShare, r *checkedResource) error {
	s.running += e.n
	r.running += e.n
	switch {
	case e.at >= w.leased:
		return fmt.Errorf("started at %v after the lease ended at %v", e.at, w.leased)
	case w.gone && w.epoch == c.epoch:
		return fmt.Errorf("started after the server had ended the session")
	case c.up && c.clear && w.epoch < c.epoch:
		return fmt.Errorf("started in epoch %d after epoch %d no longer charged for it", w.epoch, c.epoch)
	case s.running > s.charge && r.overhang == 0:
		return fmt.Errorf("started to run %d with a charge of %d", s.running, s.charge)
	}
	if err := c.sum(e); err != nil {
		return fmt.Errorf("started: %w", err)
	}
	f := e.fence
	if b := r.block(f); b.worker != e.worker || b.first.Epoch != f.Epoch || f.Counter >= b.first.Counter+permit.FenceBlock {
		return fmt.Errorf("fence %v is of no block that the worker was given", f)
	}
	if f.Compare(s.last) <= 0 {
		return fmt.Errorf("fence %v is not greater than %v of the worker's last start", f, s.last)
	}
	if c.exclusive[e.resource] && f.Compare(r.greatest) <= 0 {
		return fmt.Errorf("fence %v of an exclusive resource is not greater than %v of an earlier start", f, r.greatest)
	}
	if r.greatest.Compare(f) < 0 {
		r.greatest = f
	}
	s.last = f
	return nil
}

func (c *checker) grant(e event, s *checkedShare, r *checkedResource) error {
	if e.n < s.version || e.n == s.version && e.m > s.target { // the same may be sent again
		return fmt.Errorf("version %d of %d after version %d of %d", e.n, e.m, s.version, s.target)
	}
	s.version, s.target = e.n, e.m
	if e.m == 0 {
		return nil // nothing can start
	}
	if s.block.Compare(e.fence) > 0 {
		return fmt.Errorf("fence %v after %v", e.fence, s.block)
	}
	s.block = e.fence
	first, last := e.fence, e.fence
	last.Counter += permit.FenceBlock - 1
	if b := r.block(last); b.first.Epoch == first.Epoch && b.first.Counter+permit.FenceBlock > first.Counter {
		if b == (fenceBlock{first, e.worker}) {
			return nil // a lowered target keeps its block
		}
		return fmt.Errorf("fence %v of worker %d is within the block from %v of worker %d", first, e.worker, b.first, b.worker)
	}
	i, _ := slices.BinarySearchFunc(r.blocks, first, func(b fenceBlock, f permit.Fence) int { return b.first.Compare(f) })
	r.blocks = slices.Insert(r.blocks, i, fenceBlock{first, e.worker})
	return nil
}

// block returns the last block that begins at f or before; its worker is -1 when there is none.
func (r *checkedResource) block(f permit.Fence) fenceBlock {
	i, found := slices.BinarySearchFunc(r.blocks, f, func(b fenceBlock, f permit.Fence) int { return b.first.Compare(f) })
	if found {
		return r.blocks[i]
	}
	if i == 0 {
		return fenceBlock{worker: -1}
	}
	return r.blocks[i-1]
}
