package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// plan says what a world is to be like.
type plan struct {
	seed     uint64
	span     time.Duration
	liveness bool    // faults end in the middle, and then everything must be served
	drift    float64 // of each clock against true time, at most; 0 is a hundredth
	trace    func(line string)
	rig      rig
}

// rig is a way to get the simulated processes wrong, as internal/mistake is for the protocol: what server and
// client do around the ledger and the lessee.
type rig int

const (
	rigNone         rig = iota
	rigClockStops       // the clock of a worker stands still while the machine is suspended
	rigSameEpoch        // a server begins its new life in the epoch of the old one
	rigEmptyRecord      // a server begins with an empty journal and does not say so
	rigEarlyEnd         // a broken stream is taken for a dead worker
	rigShortAmnesia     // a journal is trusted that was begun while nothing was known
)

// fault is a point that a run may reach.
type fault int

const (
	workerKilled fault = iota
	workerProvenDead
	workerSaysGoodbye
	workerPaused
	hostSuspended
	streamBroken
	streamHalfOpen
	partitionToServer
	partitionToWorker
	partitionBoth
	delayed
	duplicated
	reordered
	lateFrame
	crashed
	crashedBeforeRecord
	crashedAfterRecord
	crashedAmongSends
	crashedAfterSends
	crashedInRecovery
	amnesia
	serverPaused
	limitRaised
	limitLowered
	limitZero
	modeDrain
	modeCancel
	kicked
	stolenSession
	liar
	reportPutOff
	faultCount
)

func (f fault) String() string {
	return [...]string{"worker killed", "worker proven dead", "goodbye", "worker paused", "host suspended", "stream broken",
		"stream half open", "partition to server", "partition to worker", "partition both ways", "delayed",
		"duplicated", "reordered", "late frame", "crashed", "crashed before record", "crashed after record",
		"crashed among sends", "crashed after sends", "crashed in recovery", "amnesia", "server paused",
		"limit raised", "limit lowered", "limit 0", "drain", "cancel", "kicked", "session stolen", "liar", "report put off"}[f]
}

// load counts what a run did. One that did too little shows nothing.
type load struct {
	events, starts, grants, lowered, yields, restarts, expired, adopted, resumed, refused int
	reached                                                                               [faultCount]int
}

// world is a server, its workers and the network between them under one scheduler. One goroutine runs it, and
// all that is decided by chance is decided by one generator, so that a seed gives the same run each time.
type world struct {
	plan
	random    *rand.Rand
	now       time.Duration // true time
	queue     []scheduled
	order     int64
	check     *checker
	err       error
	recent    [4096]event
	load      load
	digest    uint64
	resources []*simResource
	server    *simServer
	workers   []*simWorker
	chaotic   bool // frames of one stream are doubled and overtake each other
	calm      bool
	storm     time.Duration // how long there are faults
	pace      time.Duration // mean time between them
	most      int           // workers

	// Who forgets all must charge every claim, and a liar then charges what was never granted: a world has one or the other.
	liars   bool
	crashes bool // again and again
}

type simResource struct {
	name      string
	limit     int64
	most      int64
	mode      permit.Mode
	exclusive bool
	moved     time.Duration // when something last started or ended
	running   int64
}

type scheduled struct {
	at    time.Duration
	order int64
	do    func()
}

func newWorld(p plan) *world {
	if p.drift == 0 {
		p.drift = 0.01
	}
	w := &world{plan: p, random: rand.New(rand.NewPCG(p.seed, 0x68656164726f6f6d))}
	w.chaotic = !p.liveness && w.random.IntN(3) == 0
	w.pace = time.Duration(200+w.random.IntN(1800)) * time.Millisecond
	w.crashes = w.random.IntN(2) == 0
	w.liars = !p.liveness && w.random.IntN(2) == 0
	w.most = 4 + w.random.IntN(20)
	if w.random.IntN(30) == 0 && !p.liveness {
		w.most = 100 + w.random.IntN(200)
	}
	var exclusive []int
	for i := range 1 + w.random.IntN(3) {
		r := &simResource{name: fmt.Sprintf("r%d", i), mode: permit.ModeNormal}
		switch shape := w.random.IntN(4); {
		case shape == 0 && i > 0:
			r.most, r.exclusive = 1, true
			exclusive = append(exclusive, i)
		case shape == 1:
			r.most = int64(8 + w.random.IntN(100))
		default:
			r.most = int64(2 + w.random.IntN(12))
		}
		r.limit = r.most
		w.resources = append(w.resources, r)
	}
	w.check = newChecker(exclusive...)
	for i, r := range w.resources {
		w.observe(event{kind: limitSet, resource: i, n: r.limit})
	}
	w.server = newSimServer(w)
	w.server.begin(false)
	for range w.most {
		w.addWorker()
	}
	w.after(w.exp(w.pace), w.gremlin)
	w.storm = p.span
	if p.liveness {
		w.storm /= 3
		w.at(w.storm, w.heal)
	}
	w.after(w.storm/12, func() { w.server.crash(crashed) })
	for i := range 3 {
		w.after(w.storm*time.Duration(10+i)/24, func() { w.killUnseen(w.workers[len(w.workers)-1-i]) })
	}
	return w
}

// reportRate is that of a ledger: in every other world so low that workers put off their reports for as long as may be.
func (w *world) reportRate() int { return int(w.seed % 2) }

// run runs the world to its end and returns what was broken first.
func (w *world) run() error {
	for len(w.queue) > 0 && w.err == nil {
		next := w.pop()
		if next.at > w.span {
			break
		}
		w.now = max(w.now, next.at)
		next.do()
	}
	if w.err == nil {
		w.server.audit()
	}
	return w.err
}

func (w *world) observe(e event) {
	if w.err != nil {
		return
	}
	e.at = w.now
	w.recent[w.load.events%len(w.recent)] = e
	w.load.events++
	for _, x := range [...]uint64{uint64(e.at), uint64(e.kind), uint64(e.worker), uint64(e.resource), uint64(e.n), uint64(e.m),
		uint64(e.fence.Counter), uint64(e.until)} {
		w.digest = (w.digest ^ x) * 0x100000001b3
	}
	if w.trace != nil {
		w.trace(e.String())
	}
	if err := w.check.observe(e); err != nil {
		w.err = fmt.Errorf("%w\n  %v", err, e)
		w.server.print()
	}
}

func (w *world) tell(format string, args ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf("%13v ", w.now) + fmt.Sprintf(format, args...))
	}
}

func (w *world) reach(f fault) {
	w.load.reached[f]++
	if w.trace != nil {
		w.tell("fault: %v", f)
	}
}

// history returns the newest events that may have to do with the last one.
func (w *world) history() string {
	last := w.recent[(w.load.events-1)%len(w.recent)]
	var lines []string
	for i := w.load.events - 1; i >= max(0, w.load.events-len(w.recent)) && len(lines) < 40; i-- {
		switch e := w.recent[i%len(w.recent)]; {
		case e.kind == serverUp, e.kind == serverDown, e.resource == last.resource && e.worker == last.worker,
			e.worker == last.worker && (e.kind == attached || e.kind == gaveUp || e.kind == leased || e.kind == strayed):
			lines = append(lines, e.String())
		}
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

func (w *world) exp(mean time.Duration) time.Duration {
	return time.Duration(w.random.ExpFloat64() * float64(mean))
}

func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.random.Int64N(int64(high-low)+1))
}

func (w *world) chance(percent float64) bool { return w.random.Float64()*100 < percent }

func (w *world) after(d time.Duration, do func()) { w.at(w.now+d, do) }

// at schedules. What is due at one instant comes in the order in which it was scheduled.
func (w *world) at(t time.Duration, do func()) {
	w.order++
	w.queue = append(w.queue, scheduled{max(t, w.now), w.order, do})
	for i := len(w.queue) - 1; i > 0; {
		parent := (i - 1) / 2
		if !w.before(i, parent) {
			break
		}
		w.queue[i], w.queue[parent] = w.queue[parent], w.queue[i]
		i = parent
	}
}

func (w *world) before(i, j int) bool {
	a, b := &w.queue[i], &w.queue[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (w *world) pop() scheduled {
	top, last := w.queue[0], len(w.queue)-1
	w.queue[0] = w.queue[last]
	w.queue[last] = scheduled{}
	w.queue = w.queue[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if w.before(child, least) {
				least = child
			}
		}
		if least == i {
			return top
		}
		w.queue[i], w.queue[least] = w.queue[least], w.queue[i]
		i = least
	}
}

// simClock is a clock of one process: neither its zero nor its rate is anybody else's.
type simClock struct {
	offset time.Duration
	rate   float64
}

func (w *world) clock() simClock {
	rates := []float64{1, 1 - w.drift, 1 + w.drift, 1 + w.drift*(2*w.random.Float64()-1)}
	return simClock{offset: w.between(0, 1000*time.Hour), rate: rates[w.random.IntN(len(rates))]}
}

func (c simClock) at(t time.Duration) time.Duration {
	return c.offset + time.Duration(float64(t)*c.rate)
}

// when returns the first true time at which the clock shows local or more.
func (c simClock) when(local time.Duration) time.Duration {
	return time.Duration(float64(local-c.offset)/c.rate) + 2
}
