package limit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// BenchmarkStep is one step of each law for pools that have a thousand permits together, half of whose tasks wait; the
// law "fixed" is what a call costs by itself.
func BenchmarkStep(b *testing.B) {
	for _, text := range []string{"fixed limit=1000", "aimd", "crawlee", "twostation", "twostation objective=latency"} {
		for _, pools := range []int{4, 100} {
			b.Run(fmt.Sprintf("law=%s/pools=%d", text, pools), func(b *testing.B) {
				law, err := limit.Parse(text)
				if err != nil {
					b.Fatal(err)
				}
				in := busyHost(pools, 1000, 32)
				b.ReportAllocs()
				for b.Loop() {
					in.At += time.Second
					law.Step(in)
				}
			})
		}
	}
}

// busyHost is a window of a host of that many cores, on which so many pools have so many permits in use together.
func busyHost(pools, permits int, cores float64) limit.Input {
	each := float64(permits) / float64(pools)
	in := limit.Input{At: time.Second, Window: time.Second, Host: limit.Host{
		Cores: cores, Busy: 0.95 * cores, BusyKnown: true, RunQueue: 1.3 * cores, RunQueueKnown: true,
		MemoryUsed: 20 << 30, MemoryTotal: 64 << 30,
	}}
	for i := range pools {
		in.Pools = append(in.Pools, limit.Pool{
			ID: fmt.Sprint("pool ", i), InUse: each, Leased: int64(each), Waiting: 1000,
			CPU: 0.9 * cores / float64(pools), CPUKnown: true, Runnable: 1.25 * cores / float64(pools), RunnableKnown: true,
			Memory: (10 << 30) / int64(pools), MemoryKnown: true, Started: 100, Completed: 100,
			Duration: time.Second, Grown: 0.8 * each,
		})
	}
	return in
}
