package garbage

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name  string
		every time.Duration // a collection comes
		count int
		live  uint64 // bytes in use after each
		want  int
	}{
		{"start", 50 * time.Millisecond, 15, 5 * mib, 100},
		{"busy", 50 * time.Millisecond, 17, 5 * mib, 400},
		{"busy for long", 50 * time.Millisecond, 1000, 5 * mib, 400},
		{"busy with next to nothing in use", 50 * time.Millisecond, 1000, 1000, 800},
		{"busy with more in use", 50 * time.Millisecond, 1000, 10 * mib, 200},
		{"busy with much in use", 50 * time.Millisecond, 1000, 11 * mib, 100},
		{"not that busy", time.Second, 1000, 5 * mib, 100},
	} {
		p := &pacer{percent: standardPercent}
		now := time.Time{}
		for range tt.count {
			now = now.Add(tt.every)
			p.after(now, tt.live)
		}
		if p.percent != tt.want {
			t.Errorf("%s: %d %%, want %d", tt.name, p.percent, tt.want)
		}
	}
}

// A program stays busy though it collects less often for that, and is no longer once it does nothing.
func TestPercentOfWhatWasBusy(t *testing.T) {
	p := &pacer{percent: standardPercent}
	now := time.Time{}
	step := func(d time.Duration, want int) {
		t.Helper()
		now = now.Add(d)
		if p.after(now, 5<<20); p.percent != want {
			t.Errorf("after %v: %d %%, want %d", d, p.percent, want)
		}
	}
	for range manyCollections {
		now = now.Add(time.Millisecond)
		p.after(now, 5<<20)
	}
	step(4*time.Second, 400)
	step(5*time.Second, 100)
	step(4*time.Second, 100)
	step(time.Millisecond, 100)
}

// The runtime goes by what was decided.
func TestPace(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(standardPercent))
	percent := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	Pace()
	for range 1000 {
		runtime.GC()
		if percent() != standardPercent {
			return
		}
		runtime.Gosched() // to the cleanup
	}
	t.Errorf("after 1000 collections in a row the heap still grows by %d %%", percent())
}
