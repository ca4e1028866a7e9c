package severity_test

import (
	"errors"
	"testing"

	"github.com/headroom-rpc/headroom/severity"
)

func fill(t *testing.T, h *severity.History, from, to uint64) {
	t.Helper()
	for q := from; q <= to; q++ {
		if err := h.Append(severity.Transition{Sequence: q, To: 1}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHistory(t *testing.T) {
	const size = severity.HistorySize
	for _, tt := range []struct {
		name  string
		last  uint64
		after uint64
		first uint64 // 0 for none
		err   error
	}{
		{"empty", 0, 0, 0, nil},
		{"all", 3, 0, 1, nil},
		{"the rest", 3, 2, 3, nil},
		{"nothing new", 3, 3, 0, nil},
		{"another engine's", 3, 4, 0, severity.ErrFuture},
		{"full, all", size, 0, 1, nil},
		{"just evicted", size + 1, 0, 0, severity.ErrEvicted},
		{"the oldest kept", size + 1, 1, 2, nil},
		{"long after", 3*size + 7, 2*size + 7, 2*size + 8, nil},
		{"long evicted", 3*size + 7, 2*size + 6, 0, severity.ErrEvicted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h severity.History
			fill(t, &h, 1, tt.last)
			if got := h.Last(); got != tt.last {
				t.Errorf("Last = %d, want %d", got, tt.last)
			}
			list, _, err := h.After(tt.after)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.first == 0 {
				if len(list) != 0 {
					t.Errorf("%d transitions, want none", len(list))
				}
				return
			}
			if got, want := uint64(len(list)), tt.last-tt.after; got != want {
				t.Fatalf("%d transitions, want %d", got, want)
			}
			for i, tr := range list {
				if want := tt.first + uint64(i); tr.Sequence != want {
					t.Fatalf("transition %d has sequence %d, want %d", i, tr.Sequence, want)
				}
			}
		})
	}
}

func TestHistoryTellsOfTheNext(t *testing.T) {
	var h severity.History
	_, changed, err := h.After(0)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Fatal("closed before anything happened")
	default:
	}
	fill(t, &h, 1, 1)
	select {
	case <-changed:
	default:
		t.Error("not closed by Append")
	}
	fill(t, &h, 2, 2) // nobody asked
	if err := h.Append(severity.Transition{Sequence: 4}); err == nil {
		t.Error("took a gap")
	}
	if err := h.Append(severity.Transition{Sequence: 1}); err == nil {
		t.Error("took a transition twice")
	}
}
