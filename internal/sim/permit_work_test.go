package sim

import (
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// simUse is what a worker does with one resource.
type simUse struct {
	resource int
	gate     *permit.Gate
	wants    int64 // at once
	need     int64 // of each task
	hold     time.Duration
	demand   permit.Demand
	work     []*simWork
	since    time.Duration // since when it waits and runs nothing
	target   permit.Target
	lowered  bool // and not acknowledged
}

type simWork struct {
	n     int64
	ended bool
}

// mind changes what the worker wants, again and again.
func (sw *simWorker) mind() {
	w := sw.world
	if sw.state == dead {
		return
	}
	for _, u := range sw.uses {
		switch most := w.resources[u.resource].most; w.random.IntN(5) {
		case 0:
			u.wants = 0
		case 1:
			u.wants = u.need
		default:
			u.wants = u.need * w.random.Int64N(2+most/2)
		}
	}
	sw.turn()
	if !w.calm {
		w.after(w.exp(3*time.Second), func() { sw.mind() })
	}
}

func (sw *simWorker) cancel(u *simUse, rest int64) {
	for len(u.work) > 0 && u.gate.Held() > rest {
		sw.end(u, u.work[0])
	}
}

func (sw *simWorker) end(u *simUse, task *simWork) {
	w := sw.world
	if task.ended || sw.state == dead {
		return
	}
	task.ended = true
	for i, other := range u.work {
		if other == task {
			u.work = append(u.work[:i], u.work[i+1:]...)
			break
		}
	}
	u.gate.Release(task.n)
	if !sw.liar {
		r := w.resources[u.resource]
		r.running, r.moved = r.running-task.n, w.now
		w.observe(event{kind: ended, worker: sw.index, resource: u.resource, n: task.n})
	}
	sw.turn()
}

// run starts what may start, and sends what is to be said.
func (sw *simWorker) run() {
	w := sw.world
	if sw.leaving {
		return
	}
	sw.lessee.Advance(sw.local())
	for _, u := range sw.uses {
		for u.gate.Held()+u.need <= u.wants && sw.start(u) {
		}
		d := u.demand
		d.Waiting = max(u.wants-u.gate.Held(), 0)
		d.Waiting -= d.Waiting % u.need
		if d.Waiting > 0 {
			d.Need = u.need
			if u.since == 0 {
				u.since = w.now
			}
			if len(u.work) > 0 {
				u.since = w.now
			}
			d.OldestWait = w.now - u.since
		} else {
			u.since = 0
		}
		sw.lessee.Demand(w.resources[u.resource].name, d)
	}
	sw.speak()
	if at, ok := sw.lessee.Next(); ok {
		sw.turnAt(max(sw.clock.when(at), w.now+200*time.Microsecond))
	}
}

func (sw *simWorker) speak() {
	w := sw.world
	if sw.stream == nil {
		return
	}
	f, ok := sw.lessee.Frame(sw.local())
	if !ok {
		return
	}
	for _, r := range f.Reports {
		if r.HasCeiling {
			w.load.yields++
		}
		for _, u := range sw.uses {
			if u.lowered && w.resources[u.resource].name == r.Resource && r.Version >= u.target.Version {
				u.lowered = false
				w.load.lowered++
			}
		}
	}
	if sw.liar {
		sw.lie(&f)
	}
	sw.stream.up(f)
}

// lie makes of a frame what a worker would send that wants more than its share, whatever it takes.
func (sw *simWorker) lie(f *permit.WorkerFrame) {
	w := sw.world
	for i := range f.Reports {
		r := &f.Reports[i]
		r.Want = w.random.Int64N(permit.MaxLimit)
		r.Held = w.random.Int64N(1 + 3*r.Held + 3)
		r.Version += w.random.Int64N(5) - 2
		r.Ceiling, r.HasCeiling = r.Held+w.random.Int64N(9), w.chance(30)
		r.Version = max(r.Version, 0)
	}
	if f.Hello != nil {
		for i := range f.Hello.Held {
			h := &f.Hello.Held[i]
			h.Held += w.random.Int64N(100)
			h.Target += w.random.Int64N(100)
			h.HasCeiling = false
		}
	}
}

func (sw *simWorker) start(u *simUse) bool {
	w := sw.world
	fence, ok := u.gate.TryAcquire(sw.local(), u.need)
	if !ok {
		return false
	}
	task := &simWork{n: u.need}
	u.work = append(u.work, task)
	hold := w.exp(u.hold)
	if !w.liveness && w.chance(2) {
		hold = w.exp(15 * time.Second)
	}
	w.after(hold+time.Microsecond, func() { sw.arrive(func() { sw.end(u, task) }) })
	w.load.starts++
	if sw.liar {
		return true
	}
	until := time.Duration(-1)
	if d, ok := sw.lessee.Deadline(); ok {
		until = sw.clock.when(d)
	}
	if until != sw.leaseSeen {
		sw.leaseSeen = until
		w.observe(event{kind: leased, worker: sw.index, until: until})
	}
	w.server.look(sw, u)
	r := w.resources[u.resource]
	r.running += u.need
	r.moved = w.now
	w.observe(event{kind: started, worker: sw.index, resource: u.resource, n: u.need, fence: fence})
	return true
}
