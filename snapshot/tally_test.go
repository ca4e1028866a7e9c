package snapshot_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// naiveRatio is the rule over the snapshots of a whole history, the oldest first.
func naiveRatio(all []snapshot.Snapshot, window, now time.Duration) (ratio float64, count int, known bool) {
	if len(all) == 0 {
		return 0, 0, false
	}
	begin := max(now, all[len(all)-1].At) - window
	var over, total time.Duration
	for i := range all {
		s := &all[i]
		if s.Known() {
			ratio, known = 0, true
			if s.Overloaded {
				ratio = 1
			}
		}
		if s.At < begin {
			continue
		}
		count++
		if i == 0 || !s.Known() || s.Discontinuity {
			continue
		}
		d := s.At - max(all[i-1].At, begin)
		total += d
		if s.Overloaded {
			over += d
		}
	}
	if total > 0 {
		return float64(over) / float64(total), count, true
	}
	return ratio, count, known
}

// The sums that are kept from one judgement to the next give what all snapshots give, whatever happened between them.
func TestTallyAgreesWithAllSnapshots(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		ring := snapshot.NewRing(30*time.Second, time.Second<<(seed%2)) // with room for all, and not
		tallies := []struct {
			snapshot.Tally
			window time.Duration
		}{{window: 5 * time.Second}, {window: 30 * time.Second}}
		var now time.Duration
		for step := range 400 {
			switch rnd.IntN(40) {
			case 0:
				now += time.Duration(rnd.IntN(40)) * time.Second
			case 1:
				now -= time.Duration(rnd.IntN(8)) * time.Second
				ring.DropAfter(now)
			case 2:
				now -= time.Duration(rnd.IntN(3)) * time.Second // and the next ones take their place in time
			case 3:
				ring.Clear()
			default:
				now += time.Duration(rnd.IntN(1500)) * time.Millisecond
			}
			s := snapshot.Snapshot{At: now, Overloaded: rnd.IntN(3) == 0, Discontinuity: rnd.IntN(9) == 0}
			if rnd.IntN(9) == 0 {
				s = snapshot.Snapshot{At: now, Unknown: "gone"}
			}
			if rnd.IntN(8) > 0 {
				ring.Insert(&s)
			}
			at := now + time.Duration(rnd.IntN(3000))*time.Millisecond
			for i := range tallies {
				k := &tallies[i]
				ratio, count, known := k.RatioAtNow(ring, k.window, at)
				wantRatio, wantCount, wantKnown := naiveRatio(ring.Sample(nil, 0), k.window, at)
				if ratio != wantRatio || count != wantCount || known != wantKnown {
					t.Fatalf("seed %d, step %d, window %v: %v, %d, %v; want %v, %d, %v", seed, step, k.window,
						ratio, count, known, wantRatio, wantCount, wantKnown)
				}
			}
		}
	}
}
