package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

const sec = time.Second

func fenceAt(epoch, counter int64) permit.Fence { return permit.Fence{Epoch: epoch, Counter: counter} }

// begin is how every history begins: a server with a limit of 2, and two workers that may run one each.
func begin(rest ...event) []event {
	return append([]event{
		{kind: limitSet, n: 2},
		{kind: serverUp, n: 1, until: 7 * sec},
		{kind: recovered},
		{at: 1 * sec, kind: attached, worker: 1, n: 1},
		{at: 1 * sec, kind: attached, worker: 2, n: 1},
		{at: 1 * sec, kind: granted, worker: 1, n: 1, m: 1, fence: fenceAt(1, 1)},
		{at: 1 * sec, kind: granted, worker: 2, n: 1, m: 1, fence: fenceAt(1, 1+permit.FenceBlock)},
		{at: 1 * sec, kind: account, n: 2},
		{at: 1 * sec, kind: share, worker: 1, n: 1},
		{at: 1 * sec, kind: share, worker: 2, n: 1},
		{at: 1 * sec, kind: leased, worker: 1, until: 6 * sec},
		{at: 1 * sec, kind: leased, worker: 2, until: 6 * sec},
	}, rest...)
}

var (
	startOne = event{at: 2 * sec, kind: started, worker: 1, n: 1, fence: fenceAt(1, 1)}
	startTwo = event{at: 2 * sec, kind: started, worker: 2, n: 1, fence: fenceAt(1, 1+permit.FenceBlock)}
)

// The checker finds what it is there to find, and nothing else.
func TestPermitCheckerJudges(t *testing.T) {
	tests := []struct {
		name    string
		history []event
		want    string // what is broken; empty for nothing
	}{
		{"both run", begin(startOne, startTwo), ""},
		{"one after the other", begin(startOne, event{at: 3 * sec, kind: ended, worker: 1, n: 1},
			event{at: 3 * sec, kind: started, worker: 1, n: 1, fence: fenceAt(1, 2)}), ""},
		{"the limit falls below the charges, which fall later", begin(startOne, startTwo,
			event{at: 3 * sec, kind: limitSet, n: 1}, event{at: 3 * sec, kind: account, n: 2},
			event{at: 4 * sec, kind: ended, worker: 2, n: 1}, event{at: 4 * sec, kind: account, n: 1}), ""},
		{"work goes on without a server", begin(startOne, event{at: 3 * sec, kind: serverDown},
			event{at: 4 * sec, kind: ended, worker: 1, n: 1},
			event{at: 4 * sec, kind: started, worker: 1, n: 1, fence: fenceAt(1, 2)}), ""},
		{"a new life charges for the old one", begin(startOne, event{at: 3 * sec, kind: serverDown},
			event{at: 4 * sec, kind: serverUp, n: 2, until: 11 * sec}, event{at: 4 * sec, kind: account, m: 2},
			event{at: 5 * sec, kind: attached, worker: 1, n: 2}, event{at: 5 * sec, kind: account, n: 1, m: 1},
			event{at: 5 * sec, kind: share, worker: 1, n: 1}), ""},
		{"work after a lost lease", begin(startOne, event{at: 6 * sec, kind: strayed, worker: 1},
			event{at: 9 * sec, kind: gaveUp, worker: 1}, event{at: 9 * sec, kind: share, worker: 1},
			event{at: 9 * sec, kind: account, n: 1}, event{at: 10 * sec, kind: ended, worker: 1, n: 1}), ""},
		{"the same target again", begin(event{at: 2 * sec, kind: granted, worker: 1, n: 1, m: 1, fence: fenceAt(1, 1)}), ""},
		{"the dead give back in time", begin(startOne, event{at: 3 * sec, kind: died, worker: 1, until: 10 * sec},
			event{at: 9 * sec, kind: share, worker: 1, n: 1}, event{at: 11 * sec, kind: share, worker: 1}), ""},
		{"a wait that is short", begin(event{at: 20 * sec, kind: calm},
			event{at: 24 * sec, kind: waiting, worker: 1, n: int64(5 * sec), until: 3 * sec}), ""},

		{"more run than is charged", begin(startOne, startTwo, event{at: 3 * sec, kind: account, n: 1}),
			"run with charges and unknown"},
		{"a worker runs more than its charge", begin(startOne, event{at: 3 * sec, kind: share, worker: 1, n: 0}),
			"run with a charge"},
		{"a worker starts more than its charge", begin(startOne,
			event{at: 3 * sec, kind: started, worker: 1, n: 1, fence: fenceAt(1, 2)}), "with a charge of"},
		{"charges rise over the limit", begin(event{at: 2 * sec, kind: account, n: 3}), "over the limit"},
		{"unknown rises over the limit", begin(event{at: 2 * sec, kind: account, n: 2, m: 1}), "over the limit"},
		{"charges rise after a cut", begin(event{at: 2 * sec, kind: limitSet, n: 0}, event{at: 2 * sec, kind: account, n: 1},
			event{at: 3 * sec, kind: account, n: 2}), "over the limit"},
		{"a start at the end of the lease", begin(
			event{at: 6 * sec, kind: started, worker: 1, n: 1, fence: fenceAt(1, 1)}), "after the lease"},
		{"a start after the server gave the session up", begin(event{at: 2 * sec, kind: gaveUp, worker: 1}, startOne),
			"ended the session"},
		{"a start when a new life no longer charges for it", begin(event{at: 2 * sec, kind: serverDown},
			event{at: 2 * sec, kind: serverUp, n: 2, until: 9 * sec}, event{at: 2 * sec, kind: recovered}, startOne),
			"no longer charged"},
		{"a new life that forgets", begin(startOne, event{at: 3 * sec, kind: serverDown},
			event{at: 3 * sec, kind: serverUp, n: 2, until: 10 * sec}, event{at: 3 * sec, kind: account}),
			"run with charges and unknown"},
		{"a new life in an old epoch", begin(event{at: 2 * sec, kind: serverDown},
			event{at: 3 * sec, kind: serverUp, n: 1}), "epoch 1 after 1"},
		{"unknown for too long", begin(event{at: 8 * sec, kind: account, n: 1, m: 1}), "still unknown"},
		{"a fence twice", begin(startOne, event{at: 3 * sec, kind: ended, worker: 1, n: 1},
			event{at: 3 * sec, kind: started, worker: 1, n: 1, fence: fenceAt(1, 1)}), "not greater"},
		{"a fence of another worker", begin(
			event{at: 2 * sec, kind: started, worker: 1, n: 1, fence: fenceAt(1, 1+permit.FenceBlock)}), "no block"},
		{"a fence of another epoch", begin(
			event{at: 2 * sec, kind: started, worker: 1, n: 1, fence: fenceAt(2, 1)}), "no block"},
		{"blocks that overlap", begin(
			event{at: 2 * sec, kind: granted, worker: 2, n: 2, m: 1, fence: fenceAt(1, 2+permit.FenceBlock)}), "within the block"},
		{"a block that was given before", begin(
			event{at: 2 * sec, kind: granted, worker: 2, n: 2, m: 1, fence: fenceAt(1, 1)}), "after"},
		{"an older version", begin(event{at: 2 * sec, kind: granted, worker: 1, n: 2, m: 1, fence: fenceAt(1, 1)},
			event{at: 2 * sec, kind: granted, worker: 1, n: 1, m: 1, fence: fenceAt(1, 1)}), "after version"},
		{"the same version with more", begin(
			event{at: 2 * sec, kind: granted, worker: 1, n: 1, m: 2, fence: fenceAt(1, 1)}), "after version"},
		{"the dead keep what they had", begin(startOne, event{at: 3 * sec, kind: died, worker: 1, until: 10 * sec},
			event{at: 11 * sec, kind: share, worker: 1, n: 1}), "not back"},
		{"a goodbye that frees nothing", begin(event{at: 3 * sec, kind: gaveUp, worker: 1, until: 3 * sec},
			event{at: 4 * sec, kind: share, worker: 1, n: 1}), "not back"},
		{"a stolen session", begin(event{at: 3 * sec, kind: stolen, worker: 1}), "another identity"},
		{"a wait without end", begin(event{at: 20 * sec, kind: calm},
			event{at: 26 * sec, kind: waiting, worker: 1, n: int64(5 * sec), until: 3 * sec}), "work waits"},
		{"permits that nobody gets", begin(event{at: 20 * sec, kind: calm},
			event{at: 26 * sec, kind: unused, n: int64(5 * sec), until: 3 * sec}), "permits are free"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newChecker()
			for i, e := range tt.history {
				err := c.observe(e)
				switch last := i == len(tt.history)-1; {
				case err == nil && !(last && tt.want != ""):
				case err == nil:
					t.Fatalf("nothing is broken, want %q", tt.want)
				case tt.want == "" || !last || !strings.Contains(err.Error(), tt.want):
					t.Fatalf("event %d (%v): %v, want %q at the last", i, e, err, tt.want)
				}
			}
		})
	}
}

// Of a resource whose limit is 1 at most, the fences grow from start to start over all workers.
func TestPermitCheckerKnowsExclusive(t *testing.T) {
	history := func(first, second int64) []event {
		return []event{
			{kind: limitSet, n: 1},
			{kind: serverUp, n: 1, until: 7 * sec},
			{kind: granted, worker: 1, n: 1, m: 1, fence: fenceAt(1, first)},
			{kind: granted, worker: 2, n: 1, m: 1, fence: fenceAt(1, second)},
			{kind: share, worker: 1, n: 1},
			{kind: share, worker: 2, n: 1},
			{kind: leased, worker: 1, until: 6 * sec},
			{kind: leased, worker: 2, until: 6 * sec},
			{at: 1 * sec, kind: started, worker: 1, n: 1, fence: fenceAt(1, first)},
			{at: 2 * sec, kind: ended, worker: 1, n: 1},
			{at: 3 * sec, kind: started, worker: 2, n: 1, fence: fenceAt(1, second)},
		}
	}
	for _, tt := range []struct {
		name          string
		first, second int64
		broken        bool
	}{{"growing", 1, 1 + permit.FenceBlock, false}, {"falling", 1 + permit.FenceBlock, 1, true}} {
		t.Run(tt.name, func(t *testing.T) {
			c := newChecker(0)
			var err error
			for _, e := range history(tt.first, tt.second) {
				if err != nil {
					t.Fatalf("before the last event: %v", err)
				}
				err = c.observe(e)
			}
			if (err != nil) != tt.broken {
				t.Errorf("the last start: %v, want broken %v", err, tt.broken)
			}
		})
	}
}
