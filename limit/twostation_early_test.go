package limit_test

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// A step that comes early, since a verdict changed, takes back nothing of the rise that the last one allowed: what it bounds
// would stay so until the next step, which comes no sooner for that.
func TestTwoStationGoesOnWithARise(t *testing.T) {
	for _, text := range []string{"twostation", "twostation objective=latency"} {
		for _, after := range []time.Duration{time.Millisecond, 50 * time.Millisecond, 90 * time.Millisecond} {
			law := mustParse(t, text)
			in := limit.Input{Host: limit.Host{Cores: 8}, Pools: []limit.Pool{{ID: "a", Waiting: 1000}}}
			n := law.Step(in).Limit
			var d limit.Decision
			for range 3 {
				in.At, in.Window = in.At+150*time.Millisecond, 150*time.Millisecond
				in.Host.Busy, in.Host.BusyKnown = 0.05*float64(n), true
				in.Pools = []limit.Pool{{
					ID: "a", InUse: float64(n), Leased: n, Waiting: 1000, Started: n / 2,
					CPU: 0.05 * float64(n), CPUKnown: true, Runnable: 0.05 * float64(n), RunnableKnown: true,
				}}
				d = law.Step(in)
				n = d.Limit
			}
			begun := d.After(after)
			in.At, in.Window = in.At+after, after
			in.Pools[0].Started, in.Pools[0].Leased = begun-in.Pools[0].Leased, begun
			early := law.Step(in)
			if d.Limit <= d.From || early.Limit < d.Limit || early.From < begun || early.After(0) > begun+(early.Limit-begun+9)/10 {
				t.Errorf("%s: from %d to %d, and %v later, when %d had begun, from %d to %d; want from there on",
					text, d.From, d.Limit, after, begun, early.From, early.Limit)
			}
		}
	}
}

// The first step after a rest is no early one with latency, though it has no window: half may start, and not all at once.
func TestTwoStationRisesAnewAfterARest(t *testing.T) {
	law := mustParse(t, "twostation objective=latency")
	before := settle(law, 0, 60, mib).Limit
	in := steady(2*time.Minute, 0, mib)
	in.Window = 0
	if d := law.Step(in); d.Limit > before*6/10 {
		t.Errorf("from %d to %d, and %d at once, after a minute in which nothing ran; want half", before, d.Limit, d.After(0))
	}
}

// What rises in an early step after a fall begins where that ended.
func TestTwoStationRisesEarlyFromAFall(t *testing.T) {
	law := mustParse(t, "twostation")
	before := settle(law, 0, 60, 20*mib).Limit
	in := steady(60*time.Second, before, before*16*mib)
	in.Host.MemoryUsed = in.Host.MemoryTotal // so that half are to end
	fall := law.Step(in)
	in = steady(60*time.Second+300*time.Millisecond, fall.Limit, fall.Limit*16*mib)
	in.Window = 300 * time.Millisecond
	d := law.Step(in)
	if fall.Limit > before*6/10 || d.Limit < fall.Limit*12/10 || d.From > fall.Limit {
		t.Errorf("from %d to %d, and then at once to %d of %d", before, fall.Limit, d.From, d.Limit)
	}
}
