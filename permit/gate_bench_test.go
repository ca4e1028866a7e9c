package permit_test

import (
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/headroom-rpc/headroom/permit"
)

func openGate(b *testing.B) *permit.Gate {
	b.Helper()
	a := &attached{Lessee: permit.NewLessee(permit.LesseeConfig{}), now: time.Second, epoch: 1}
	g := a.Gate(room)
	a.Connect(a.now)
	if f, ok := a.Frame(a.now); ok {
		a.last = f.Sent
	}
	a.welcome(false, 1, target(1, 1000))
	return g
}

// The gate is to cost at most twice an uncontended semaphore, and to be taken and left at least 10 million times
// a second over two cores.
func BenchmarkAcquireRelease(b *testing.B) {
	gate := openGate(b)
	gateOnce := func() {
		if _, ok := gate.TryAcquire(time.Second, 1); ok {
			gate.Release(1)
		}
	}
	weighted := semaphore.NewWeighted(1000)
	weightedOnce := func() {
		if weighted.TryAcquire(1) {
			weighted.Release(1)
		}
	}
	for _, of := range []struct {
		name string
		once func()
	}{{"gate", gateOnce}, {"semaphore", weightedOnce}} {
		b.Run("of="+of.name+"/goroutines=1", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				of.once()
			}
		})
		b.Run("of="+of.name+"/goroutines=GOMAXPROCS", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					of.once()
				}
			})
		})
	}
}
