package client_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
)

// What is not to be had now is wanted for a second, or a server would never hear of it.
func TestFailedTryAcquireIsADemand(t *testing.T) {
	l := newLessor(1)
	l.give("host", 0)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		if r := l.report("host"); r.Resource == "" || r.Want != 0 {
			t.Fatalf("report = %+v, want one that wants nothing", r)
		}
		h.TryAcquire(3)
		synctest.Wait()
		if r := l.report("host"); r.Want != 3 || r.Need != 3 {
			t.Errorf("%d wanted, %d at once, want 3 and 3", r.Want, r.Need)
		}
		time.Sleep(3 * time.Second)
		if r := l.report("host"); r.Want != 0 {
			t.Errorf("%d wanted 3 s later, want 0", r.Want)
		}
	})
}

func TestReportSaysWhatIsWanted(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host", client.WithWeight(7), client.WithPriority(-3), client.WithGuarantee(2))
		p := take(t, h)
		time.Sleep(2 * time.Second)
		p.Release()
		h.Demand(5, 3*time.Second)
		time.Sleep(2 * time.Second)
		r := l.report("host")
		if r.Want != 5 || r.Weight != 7 || r.Priority != -3 || r.Guarantee != 2 {
			t.Errorf("report = %+v, want 5 wanted with weight 7, priority -3 and a guarantee of 2", r)
		}
		if r.OldestWait < 3*time.Second || r.OldestWait > 5*time.Second || r.MeanHold != 2*time.Second {
			t.Errorf("oldest wait %v and mean hold %v, want 3 to 5 s and 2 s", r.OldestWait, r.MeanHold)
		}
		h.Close()
		time.Sleep(3 * time.Second)
		if r := l.report("host"); r.Want != 0 {
			t.Errorf("%d wanted after the handle was closed, want 0", r.Want)
		}
	})
}

// What is held for a short time is measured one time in many, however many permits were taken before, and the mean
// is that of all.
func TestMeanHoldOfShortWork(t *testing.T) {
	l := newLessor(1)
	l.give("host", 2*permit.FenceBlock)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		all, ok := h.TryAcquire(permit.FenceBlock) // the last fence is repeated from now on
		if !ok {
			t.Fatal("refused")
		}
		all.Release()
		for _, held := range []time.Duration{30 * time.Microsecond, 90 * time.Microsecond, 10 * time.Microsecond} {
			for range 3000 {
				p := take(t, h)
				time.Sleep(held)
				p.Release()
			}
			h.Demand(1, 0)
			time.Sleep(3 * time.Second)
			h.Demand(0, 0)
			time.Sleep(3 * time.Second)
			if got := l.report("host").MeanHold; got < held*97/100 || got > held*103/100 {
				t.Errorf("mean hold %v, want %v within 3 %%", got, held)
			}
		}
	})
}

// One permit in 64 is measured, whatever the steps of the clock and the pace of the program.
func TestSampled(t *testing.T) {
	for _, step := range []time.Duration{1, 41, 64, 100, 1000, 4096, 15_625_000, time.Second} {
		const n = 64_000
		sampled := 0
		for i := range time.Duration(n) {
			if client.Sampled(3*time.Hour + i*step) {
				sampled++
			}
		}
		if sampled < 900 || sampled > 1100 {
			t.Errorf("%d of %d are measured in steps of %v, want about 1000", sampled, n, step)
		}
	}
}
