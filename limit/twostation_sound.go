package limit

import (
	"math"

	"github.com/headroom-rpc/headroom/snapshot"
)

// mostBytes is far over the memory of any machine.
const mostBytes = 1 << 50

// sound returns the figures with what cannot be true made unknown.
func sound(h Host, newest []snapshot.Snapshot) Host {
	if !(h.Cores >= 0.001 && h.Cores <= 1e6) {
		h.Cores = cores(newest)
	}
	if !(h.Busy >= 0) || math.IsInf(h.Busy, 0) {
		h.Busy, h.BusyKnown = 0, false
	}
	h.Busy, h.Kills = min(h.Busy, h.Cores), max(0, h.Kills)
	if !(h.Others >= 0) {
		h.Others, h.OthersKnown = 0, false
	}
	h.Others = min(h.Others, h.Cores)
	if !(h.Newest >= 0) {
		h.Newest = 0
	}
	h.Newest = min(h.Newest, h.Cores)
	if !(h.RunQueue >= 0) || math.IsInf(h.RunQueue, 0) || !(h.Crowded >= 0 && h.Crowded <= 1) {
		h.RunQueue, h.Crowded, h.RunQueueKnown = 0, 0, false
	}
	if h.MemoryUsed < 0 || h.MemoryTotal <= 0 || h.MemoryUsed > mostBytes || h.MemoryTotal > mostBytes {
		h.MemoryUsed, h.MemoryTotal = 0, 0
	}
	if !(h.Stalled >= 0 && h.Stalled <= 1) {
		h.Stalled, h.StalledKnown = 0, false
	}
	return h
}

// soundPool does the same for a pool.
func soundPool(p Pool) Pool {
	p.Weight = max(1, p.Weight)
	p.Window = max(0, p.Window)
	p.Min = max(0, min(p.Min, mostPermits))
	if p.Max > 0 {
		p.Max = max(p.Max, p.Min)
	} else {
		p.Max = 0
	}
	p.Leased = max(0, min(p.Leased, mostPermits))
	if p.Capped {
		p.Waiting = 0 // what may not start is no work for a permit
	}
	p.Waiting, p.Delayed = max(0, p.Waiting), max(0, min(p.Delayed, p.Leased))
	if !(p.InUse >= 0 && p.InUse <= mostPermits) {
		p.InUse = float64(p.Leased)
	}
	if !(p.CPU >= 0 && p.CPU <= 1e6) {
		p.CPU, p.CPUKnown = 0, false
	}
	if !(p.Runnable >= 0 && p.Runnable <= mostPermits) {
		p.Runnable, p.RunnableKnown = 0, false
	}
	if p.Memory < 0 || p.Memory > mostBytes {
		p.Memory, p.MemoryKnown = 0, false
	}
	if !(p.Grown >= 0.01 && p.Grown <= mostPermits) {
		p.Grown = 0
	}
	for _, count := range []*int64{&p.Started, &p.Completed, &p.Failed, &p.Throttled, &p.Calls} {
		*count = max(0, min(*count, mostPermits))
	}
	p.Duration = max(0, p.Duration)
	return p
}

func bytesOf(x float64) int64 { return int64(max(0, min(x, 1<<60))) }
