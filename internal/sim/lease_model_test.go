package sim

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/headroom-rpc/headroom/permit"
)

// The calls of a history. An expiry is not a call: it is what the server may do to a permit that nobody gave back,
// from when its holder must have stopped.
type callKind int

const (
	callAcquire callKind = iota
	callRenew
	callRelease
	callExpire
)

// outcome is how a call ended.
type outcome int

const (
	callOK      outcome = iota // or renewed, or released
	callRefused                // it cannot be had in time
	callGone                   // there is no such permit any more
	callUnknown                // the caller did not wait for the end
)

// A call is one operation of a history.
type call struct {
	kind    callKind
	request int
	count   int64
	out     outcome
	permit  string
	fence   int64
	ttl     time.Duration

	begin, end int64         // the order of all begins and ends
	sent, back time.Duration // when they were

	alone   bool // no other call waited beside it
	dropped bool // an earlier call of its request may have had the permit and dropped it
}

func (c call) String() string {
	kind := [...]string{"acquire", "renew", "release", "expire"}[c.kind]
	out := [...]string{"ok", "refused", "gone", "unknown"}[c.out]
	return fmt.Sprintf("%4d-%4d %8v-%8v %s %d of request %d: %s, fence %d", c.begin, c.end, c.sent, c.back, kind, c.count, c.request, out, c.fence)
}

// A semaphore is the state of the model: a counting semaphore whose permits are leased. It is comparable.
type semaphore struct {
	held  int64
	used  [8]inUse   // the permits that are leased, by request; the rest is zero
	ended [16]uint64 // the requests whose permit has ended, a bit each
	fence int64      // the greatest so far
}

type inUse struct{ request, count int64 } // request is from 1

func (s *semaphore) has(request int) bool {
	return slices.ContainsFunc(s.used[:], func(l inUse) bool { return l.request == int64(request) })
}

func (s *semaphore) hasEnded(request int) bool { return s.ended[request/64]&(1<<(request%64)) != 0 }

func (s *semaphore) remove(request int) {
	i := slices.IndexFunc(s.used[:], func(l inUse) bool { return l.request == int64(request) })
	if i < 0 {
		return
	}
	s.held -= s.used[i].count
	s.used[i] = inUse{}
	s.sort()
	s.ended[request/64] |= 1 << (request % 64)
}

func (s *semaphore) sort() {
	slices.SortFunc(s.used[:], func(a, b inUse) int { return cmp.Compare(b.request, a.request) })
}

// step applies a call, and reports whether it can have happened.
func (s *semaphore) step(c *call, limit int64) bool {
	switch c.kind {
	case callAcquire:
		return s.acquire(c, limit)
	case callRenew:
		return s.has(c.request) == (c.out == callOK)
	case callRelease:
		had := s.has(c.request)
		s.remove(c.request)
		return had == (c.out == callOK)
	default:
		s.remove(c.request)
		return true
	}
}

func (s *semaphore) acquire(c *call, limit int64) bool {
	switch c.out {
	case callOK:
		if s.has(c.request) {
			return true
		}
		if s.hasEnded(c.request) || s.held+c.count > limit || c.fence < s.fence || c.fence == s.fence && c.fence != 0 {
			return false
		}
		s.used[len(s.used)-1] = inUse{int64(c.request), c.count}
		s.sort()
		s.held += c.count
		s.fence = c.fence
		return true
	case callRefused:
		return !c.alone || s.held+c.count > limit
	case callGone:
		return c.dropped || s.hasEnded(c.request)
	default:
		return true
	}
}

// linearize reports why the history is not one of a counting semaphore with that limit. It adds the expiries.
func linearize(history []call, limit int64) error {
	history = slices.Clone(history)
	if err := sameForSame(history); err != nil {
		return err
	}
	annotate(history)
	history = append(history, expiries(history)...)
	operations := make([]porcupine.Operation, len(history))
	for i := range history {
		c := &history[i]
		operations[i] = porcupine.Operation{ClientId: i, Input: c, Call: c.begin, Return: c.end}
	}
	model := porcupine.Model{
		Init: func() any { return semaphore{} },
		Step: func(state, input, _ any) (bool, any) {
			s := state.(semaphore)
			ok := s.step(input.(*call), limit)
			return ok, s
		},
	}
	switch porcupine.CheckOperationsTimeout(model, operations, 20*time.Second) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("%d calls could not be judged in time", len(history))
	default:
		return fmt.Errorf("%d calls are not those of a semaphore of %d", len(history), limit)
	}
}

// sameForSame reports a request that got two permits, or a permit that two requests got.
func sameForSame(history []call) error {
	permits, requests := make(map[int]string), make(map[string]int)
	for _, c := range history {
		if c.kind != callAcquire || c.out != callOK {
			continue
		}
		if p, ok := permits[c.request]; ok && p != c.permit {
			return fmt.Errorf("request %d got the permits %s and %s", c.request, p, c.permit)
		}
		if r, ok := requests[c.permit]; ok && r != c.request {
			return fmt.Errorf("the requests %d and %d got the permit %s", r, c.request, c.permit)
		}
		permits[c.request], requests[c.permit] = c.permit, c.request
	}
	return nil
}

// annotate finds what lets a call be refused, or find its permit gone, beside the state of the semaphore.
func annotate(history []call) {
	for i := range history {
		c := &history[i]
		if c.kind != callAcquire {
			continue
		}
		c.alone = true
		for j := range history {
			d := &history[j]
			if i == j || d.kind != callAcquire || d.begin > c.end {
				continue
			}
			if d.end > c.begin || d.out == callUnknown {
				c.alone = false
			}
			if d.request == c.request && d.out == callUnknown {
				c.dropped = true
			}
		}
	}
}

// expiries returns when the permits may have expired that were not given back: not before a holder, who counts from
// when it sent the last call that prolonged the lease, must have stopped.
func expiries(history []call) []call {
	last := make(map[int]call)
	released := make(map[int]bool)
	for _, c := range history {
		if c.out != callOK {
			continue
		}
		switch {
		case c.kind == callRelease:
			released[c.request] = true
		case c.kind == callRenew, c.kind == callAcquire && last[c.request].ttl == 0:
			if before := last[c.request]; c.sent+c.ttl > before.sent+before.ttl {
				last[c.request] = c
			}
		}
	}
	// at returns the order of the first begin or end that is not before that time.
	at := func(t time.Duration) int64 {
		first := int64(1) << 40
		for _, c := range history {
			if c.sent >= t {
				first = min(first, c.begin)
			}
			if c.back >= t {
				first = min(first, c.end)
			}
		}
		return first
	}
	var all []call
	for request, c := range last {
		if released[request] {
			continue
		}
		late := c.back + c.ttl + c.ttl/100 + permit.DefaultGrace + time.Second
		all = append(all, call{
			kind: callExpire, request: request, count: c.count, sent: c.sent + c.ttl, back: late,
			begin: at(c.sent+c.ttl) - 1, end: at(late) + 1,
		})
	}
	return all
}

// The check rejects what no semaphore does, and accepts what one may do.
func TestLinearizeJudges(t *testing.T) {
	const s = time.Second
	acq := func(request int, out outcome) call {
		return call{kind: callAcquire, request: request, count: 1, out: out, permit: fmt.Sprint("p", request), fence: int64(request), ttl: 2 * s}
	}
	rel := func(request int, out outcome) call { return call{kind: callRelease, request: request, out: out} }
	ren := func(request int, out outcome) call {
		return call{kind: callRenew, request: request, out: out, ttl: 2 * s}
	}
	// at makes the calls one after the other, at those times.
	type step struct {
		at   time.Duration
		call call
	}
	with := func(c call, change func(*call)) call { change(&c); return c }
	for name, test := range map[string]struct {
		bad   bool
		steps []step
	}{
		"in turns":            {false, []step{{0, acq(1, callOK)}, {s, rel(1, callOK)}, {s, acq(2, callOK)}}},
		"again the same":      {false, []step{{0, acq(1, callOK)}, {s, acq(1, callOK)}, {s, rel(1, callOK)}, {s, acq(1, callGone)}}},
		"refused":             {false, []step{{0, acq(1, callOK)}, {s, acq(2, callRefused)}}},
		"expired":             {false, []step{{0, acq(1, callOK)}, {6 * s, acq(2, callOK)}, {6 * s, ren(1, callGone)}, {6 * s, rel(1, callGone)}}},
		"renewed and expired": {false, []step{{0, acq(1, callOK)}, {s, ren(1, callOK)}, {4 * s, acq(2, callRefused)}, {9 * s, acq(3, callOK)}}},
		"unknown":             {false, []step{{0, acq(1, callUnknown)}, {s, acq(2, callRefused)}, {5 * s, acq(1, callGone)}, {9 * s, acq(3, callOK)}}},

		"over the limit":           {true, []step{{0, acq(1, callOK)}, {s, acq(2, callOK)}}},
		"expired too early":        {true, []step{{0, acq(1, callOK)}, {s, acq(2, callOK)}, {9 * s, rel(1, callGone)}}},
		"expired before renewal":   {true, []step{{0, acq(1, callOK)}, {s, ren(1, callOK)}, {2500 * time.Millisecond, acq(2, callOK)}}},
		"two permits":              {true, []step{{0, acq(1, callOK)}, {s, with(acq(1, callOK), func(c *call) { c.permit = "other" })}}},
		"one permit for two":       {true, []step{{0, acq(1, callOK)}, {s, rel(1, callOK)}, {s, with(acq(2, callOK), func(c *call) { c.permit = "p1" })}}},
		"released twice":           {true, []step{{0, acq(1, callOK)}, {s, rel(1, callOK)}, {s, rel(1, callOK)}}},
		"not released":             {true, []step{{0, acq(1, callOK)}, {s, rel(1, callGone)}}},
		"renewed after its end":    {true, []step{{0, acq(1, callOK)}, {s, rel(1, callOK)}, {s, ren(1, callOK)}}},
		"lost while it was leased": {true, []step{{0, acq(1, callOK)}, {s, ren(1, callGone)}}},
		"never expired":            {true, []step{{0, acq(1, callOK)}, {20 * s, ren(1, callOK)}, {20 * s, acq(2, callOK)}}},
		"granted after its end":    {true, []step{{0, acq(1, callOK)}, {s, rel(1, callOK)}, {s, acq(1, callOK)}}},
		"gone without a reason":    {true, []step{{0, acq(1, callGone)}}},
		"refused while free":       {true, []step{{0, acq(1, callOK)}, {s, rel(1, callOK)}, {s, acq(2, callRefused)}}},
		"too many":                 {true, []step{{0, with(acq(1, callOK), func(c *call) { c.count = 2 })}}},
		"an old fence":             {true, []step{{0, acq(2, callOK)}, {s, rel(2, callOK)}, {s, acq(1, callOK)}}},
	} {
		var history []call
		for i, step := range test.steps {
			c := step.call
			c.begin, c.end, c.sent, c.back = int64(8*i+4), int64(8*i+8), step.at, step.at
			history = append(history, c)
		}
		if err := linearize(history, 1); (err != nil) != test.bad {
			t.Errorf("%s: linearize = %v, want an error: %v", name, err, test.bad)
		}
	}
}
