package main

import (
	"time"

	"github.com/headroom-rpc/headroom/internal/spawn"
	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/snapshot"
)

// observers count themselves among the runnable: the one that reads, and the thread of the Go runtime that its return
// from sleep wakes.
const observers = 2

// A hostView is what is seen of the machine beside commands. What a pool sees by itself has no count of the commands that
// the kernel killed for want of memory.
type hostView struct {
	last  time.Duration // when it was seen
	cores float64       // in use since then
	busy  time.Duration // CPU time until then
	at    time.Duration // of the newest reading of memory
	used  int64         // by the commands then
}

// see takes the newest readings, and what the commands use and how often one was killed. It is pure: now is passed in.
func (v *hostView) see(now time.Duration, newest []snapshot.Snapshot, used, kills int64) pool.Host {
	v.busy += time.Duration(v.cores * float64(now-v.last))
	v.last, v.cores = now, 0
	h := pool.Host{Busy: -1, RunQueue: -1, Stalled: -1, Kills: kills}
	for i := range newest {
		switch s := &newest[i]; {
		case !s.Known():
		case s.Resource == snapshot.CPU && s.CPU.Cores > 0:
			v.cores = s.CPU.Used * s.CPU.Cores
			h.Cores, h.Busy = s.CPU.Cores, v.busy
			if s.CPU.LoadKnown {
				h.RunQueue = float64(max(0, s.CPU.Runnable-observers))
			}
		case s.Resource == snapshot.Memory && s.Memory.Total > 0:
			if s.At != v.at {
				v.at, v.used = s.At, used
			}
			h.MemoryUsed, h.MemoryTotal = max(0, s.Memory.Used+used-v.used), s.Memory.Total // with what came since
		}
	}
	return h
}

// hostOf returns what is seen of the machine, as a pool asks for it.
func hostOf(machine *snapshot.Snapshotter, s *spawn.Spawner) func() pool.Host {
	var v hostView
	began := time.Now()
	return func() pool.Host {
		view, _, err := machine.View()
		if err != nil {
			view = snapshot.View{}
		}
		return v.see(time.Since(began), view.Newest, max(0, s.Usage().Memory), s.Kills())
	}
}
