package permit

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// slowly divides one permit at a time: each goes to whoever has least by its weight, of those that want more.
func slowly(capacity int64, cs []claimant) []int64 {
	give := make([]int64, len(cs))
	for range capacity {
		next := -1
		for i, c := range cs {
			if give[i] >= c.want {
				continue
			}
			if next < 0 {
				next = i
				continue
			}
			n := cs[next]
			own, nextOwn := give[i] < min(c.sure, c.want), give[next] < min(n.sure, n.want)
			switch {
			case own != nextOwn && own:
				next = i
			case own != nextOwn:
			case give[i]*n.weight < give[next]*c.weight:
				next = i
			}
		}
		if next < 0 {
			break
		}
		give[next]++
	}
	return give
}

func TestDivideIsWeightedMaxMin(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	var scratch []int32
	for n := range 20_000 {
		cs := make([]claimant, 1+random.IntN(8))
		capacity := int64(random.IntN(60))
		left := capacity // guarantees are within it
		for i := range cs {
			cs[i] = claimant{want: int64(random.IntN(30)), weight: 1 + int64(random.IntN(4)), has: int64(random.IntN(10)),
				turn: int64(random.IntN(5))}
			if random.IntN(3) == 0 && left > 0 {
				cs[i].sure = int64(random.IntN(int(left) + 1))
				left -= cs[i].sure
			}
		}
		before := slices.Clone(cs)
		want := slowly(capacity, before)
		divide(capacity, cs, &scratch)
		var sum, wants int64
		for i := range cs {
			c, b := &cs[i], &before[i]
			sum += c.give
			wants += b.want
			if c.give < min(b.sure, b.want) || c.give > b.want || c.whole > c.give || c.give > c.whole+1 {
				t.Fatalf("round %d: %+v of %+v", n, *c, *b)
			}
			// One more or less is the turn's; weights up to 4 make the oracle's steps as coarse as that.
			if d := c.give - want[i]; d < -2 || d > 2 {
				t.Fatalf("round %d: capacity %d among %+v: %d for number %d, want about %d", n, capacity, before, c.give, i, want[i])
			}
		}
		if sum != min(capacity, wants) {
			t.Fatalf("round %d: %d of %d given, of %d wanted", n, sum, capacity, wants)
		}
	}
}

// After a cut the guarantees are over the capacity; then they share it.
func TestDivideWhatIsSureIsTooMuch(t *testing.T) {
	cs := []claimant{{want: 50, sure: 30, weight: 1}, {want: 50, sure: 10, weight: 1}, {want: 50, weight: 1}}
	var scratch []int32
	divide(20, cs, &scratch)
	if got := []int64{cs[0].give, cs[1].give, cs[2].give}; !slices.Equal(got, []int64{10, 10, 0}) {
		t.Errorf("divided into %v, want [10 10 0]", got)
	}
}

func TestLeast(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	for range 2000 {
		s := make([]int, random.IntN(40))
		for i := range s {
			s[i] = random.IntN(20)
		}
		sorted := slices.Sorted(slices.Values(s))
		k := random.IntN(len(s) + 1)
		least(s, k, func(a, b int) int { return a - b })
		if got := slices.Sorted(slices.Values(s[:k])); !slices.Equal(got, sorted[:k]) {
			t.Fatalf("the %d least are %v, want %v", k, got, sorted[:k])
		}
	}
}

// However many targets are under way, the charge covers every one that the worker may go by, and takes no more
// room.
func TestChargeIsBoundedAndCovers(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6))
	for range 500 {
		var c charge
		targets := []int64{0} // by version
		at := int64(0)        // the version that the worker goes by
		for range 60 {
			switch random.IntN(4) {
			case 0, 1:
				c.set(int64(random.IntN(20)))
				c.take()
				targets = append(targets, c.target)
			case 2:
				at += int64(random.IntN(len(targets) - int(at)))
			case 3:
				ceiling := int64(random.IntN(20))
				held := min(ceiling, int64(random.IntN(int(targets[at])+1)))
				if random.IntN(2) == 0 {
					targets[at] = min(targets[at], max(ceiling, held))
					c.report(at, held, ceiling, true)
				} else {
					c.report(at, held, 0, false)
				}
			}
			if err := c.check(); err != nil {
				t.Fatal(err)
			}
			if may := slices.Max(targets[at:]); c.amount() < may {
				t.Fatalf("charge %d, and the worker may hold %d by the targets %v from %d on", c.amount(), may, targets, at)
			}
		}
	}
}

func TestExpiryIsAHeap(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	var h expiry
	for range 5000 {
		switch n := random.IntN(4); {
		case n < 2 || len(h) == 0:
			h.push(&session{}, 0)
			h.move(h[len(h)-1], 0)
		case n == 2:
			h.move(h[random.IntN(len(h))], 1+h[0].expires*2%977)
		default:
			h.remove(h[random.IntN(len(h))])
		}
		for i := range h {
			if h[i].place != i || i > 0 && h.less(i, (i-1)/2) {
				t.Fatalf("out of order at %d of %d", i, len(h))
			}
		}
	}
}
