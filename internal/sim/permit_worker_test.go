package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// simIdentities own the workers.
const simIdentities = 4

type workerState int

const (
	alive workerState = iota
	paused
	dead
)

// simWorker does around a lessee what a client does, for tasks that come and go.
type simWorker struct {
	world      *world
	index      int
	party      permit.Party
	instance   permit.InstanceID
	lessee     *permit.Lessee
	clock      simClock
	state      workerState
	inbox      []func()
	link       link
	stream     *stream
	attempts   int
	heard      time.Duration // when the last frame came
	attachedIn int64         // epoch
	uses       []*simUse
	stubborn   bool // does not cancel its work when the lease is lost
	liar       bool
	leaving    bool
	leaseSeen  time.Duration
	charged    []int64       // by resource: what the checker was last told
	wake       time.Duration // of the next turn
	waking     bool
	wakes      int
}

func (w *world) addWorker() *simWorker {
	sw := &simWorker{world: w, index: len(w.workers), clock: w.clock()}
	sw.party = permit.Party{Identity: fmt.Sprint("uid:", 1000+w.random.IntN(simIdentities)), PID: sw.index + 1}
	sw.link = link{delay: w.between(50*time.Microsecond, 2*time.Millisecond), jitter: 200 * time.Microsecond}
	if w.chance(30) {
		sw.link = link{delay: w.between(5*time.Millisecond, 200*time.Millisecond), jitter: 20 * time.Millisecond}
	}
	sw.stubborn = !w.liveness && w.chance(10)
	if w.liars && w.chance(8) {
		sw.liar = true
		w.reach(liar)
	}
	sw.charged = make([]int64, len(w.resources))
	config := permit.LesseeConfig{Client: fmt.Sprint("worker-", sw.index), Exclusive: true, Changed: sw.changed, Lost: sw.lost}
	binary.LittleEndian.PutUint64(config.Instance[:], w.random.Uint64())
	sw.instance = config.Instance
	sw.lessee = permit.NewLessee(config)
	for i := range w.resources {
		if i > 0 && w.chance(40) {
			continue
		}
		u := &simUse{resource: i, gate: sw.lessee.Gate(w.resources[i].name), need: 1}
		u.hold = w.between(20*time.Millisecond, 500*time.Millisecond)
		u.demand.Weight = w.random.IntN(4)
		if w.chance(30) {
			u.demand.Priority = w.random.IntN(3) - 1
		}
		if w.chance(10) {
			u.demand.Guarantee = 1
		}
		if w.chance(10) && w.resources[i].most > 3 {
			u.need = int64(2 + w.random.IntN(2))
		}
		sw.uses = append(sw.uses, u)
	}
	w.workers = append(w.workers, sw)
	for _, u := range sw.uses {
		w.tell("worker %d uses %d: need %d, hold %v, %+v", sw.index, u.resource, u.need, u.hold, u.demand)
	}
	sw.mind()
	w.after(w.exp(100*time.Millisecond), func() { sw.arrive(sw.connect) })
	return sw
}

func (sw *simWorker) local() time.Duration { return sw.clock.at(sw.world.now) }

// arrive runs what came from the network, when the process can.
func (sw *simWorker) arrive(do func()) {
	switch sw.state {
	case alive:
		do()
	case paused:
		sw.inbox = append(sw.inbox, do)
	}
}

func (sw *simWorker) connect() {
	w := sw.world
	if sw.state != alive || sw.leaving || sw.stream != nil {
		return
	}
	if !w.server.up {
		sw.retry()
		return
	}
	sw.stream = &stream{worker: sw, life: w.server.life}
	sw.heard = w.now
	sw.lessee.Connect(sw.local())
	st := sw.stream
	w.after(3*time.Second, func() { sw.watch(st) })
	sw.turn()
}

// watch breaks a stream on which nothing was heard for long.
func (sw *simWorker) watch(st *stream) {
	w := sw.world
	if sw.stream != st || sw.state == dead {
		return
	}
	if sw.state == alive && w.now-sw.heard >= 3*time.Second {
		st.end(0, w.exp(100*time.Millisecond)+1)
		sw.broken(st)
		return
	}
	w.after(time.Second, func() { sw.watch(st) })
}

func (sw *simWorker) retry() {
	w := sw.world
	sw.attempts++
	limit := min(2*time.Second, 50*time.Millisecond<<min(sw.attempts, 6))
	w.after(w.between(0, limit), func() { sw.arrive(sw.connect) })
}

func (sw *simWorker) broken(st *stream) {
	if sw.stream != st {
		return
	}
	st.dead = true
	sw.stream = nil
	sw.lessee.Disconnect(sw.local())
	sw.retry()
	sw.turn()
}

func (sw *simWorker) receive(st *stream, f permit.ServerFrame) {
	if sw.leaving {
		return
	}
	if sw.stream == st {
		sw.heard, sw.attempts = sw.world.now, 0
	}
	sw.lessee.Receive(sw.local(), f)
	if f.Kicked != "" && sw.stream == st {
		st.end(0, time.Millisecond)
		sw.stream = nil
		sw.retry()
	}
	sw.turn()
}

func (sw *simWorker) changed(resource string) {
	t, ok := sw.lessee.Target(resource)
	if !ok {
		return
	}
	for _, u := range sw.uses {
		if sw.world.resources[u.resource].name != resource || t == u.target {
			continue
		}
		u.lowered = u.lowered || t.Target < u.target.Target
		if t.Target < u.target.Target && t.ReportWithin > 0 {
			sw.world.reach(reportPutOff)
		}
		u.target = t
		if t.Mode == permit.ModeCancel && u.gate.Held() > t.Target {
			sw.world.after(t.CancelAfter, func() {
				sw.arrive(func() { sw.cancel(u, t.Target) })
			})
		}
	}
}

// lost is called when the lease has ended: what runs then is no longer accounted for.
func (sw *simWorker) lost() {
	if sw.liar {
		return
	}
	sw.world.observe(event{kind: strayed, worker: sw.index})
	if !sw.stubborn {
		for _, u := range sw.uses {
			sw.cancel(u, 0)
		}
	}
}

// turn lets the worker run at this instant: once, whatever it is that woke it.
func (sw *simWorker) turn() { sw.turnAt(sw.world.now) }

func (sw *simWorker) turnAt(at time.Duration) {
	if sw.waking && sw.wake <= at {
		return
	}
	sw.wakes++
	sw.waking, sw.wake = true, at
	this := sw.wakes
	sw.world.at(at, func() {
		if this == sw.wakes {
			sw.waking = false
			sw.arrive(sw.run)
		}
	})
}

// die ends the process, and all that runs in it.
func (sw *simWorker) die(back time.Duration) {
	w := sw.world
	sw.state = dead
	for _, u := range sw.uses {
		if sw.liar {
			break
		}
		for _, task := range u.work {
			r := w.resources[u.resource]
			r.running, r.moved = r.running-task.n, w.now
		}
	}
	if !sw.liar {
		w.observe(event{kind: died, worker: sw.index, until: back})
	}
	if sw.stream != nil {
		sw.stream.end(0, w.exp(100*time.Millisecond)+1)
	}
}

func (sw *simWorker) resume() {
	if sw.state != paused {
		return
	}
	sw.state = alive
	inbox := sw.inbox
	sw.inbox = nil
	if sw.world.chance(50) {
		sw.run()
	}
	for _, do := range inbox {
		sw.arrive(do)
	}
	sw.turn()
}
