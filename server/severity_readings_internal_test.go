package server

import (
	"errors"
	"math"
	"os"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot/host"
)

// However many streams watch a process, it is opened once and read twice a second at most.
func TestProcessTableShares(t *testing.T) {
	table := newProcessTable(2)
	first, err := table.open(t.Context(), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	second, err := table.open(t.Context(), os.Getpid())
	if err != nil || second != first {
		t.Fatalf("opened twice: %p and %p, %v; want one", first, second, err)
	}
	now := 10 * time.Second
	clock := func() time.Duration { return now }
	read := func() time.Duration {
		t.Helper()
		reading, at, err := second.memory(t.Context(), clock)
		if err != nil || reading.Used <= 0 {
			t.Fatalf("memory = %v, %v", reading, err)
		}
		return at
	}
	for _, tt := range []struct{ now, want time.Duration }{
		{10 * time.Second, 10 * time.Second},
		{10*time.Second + 499*time.Millisecond, 10 * time.Second},
		{10*time.Second + 500*time.Millisecond, 10*time.Second + 500*time.Millisecond},
	} {
		now = tt.now
		if got := read(); got != tt.want {
			t.Errorf("at %v the reading is of %v, want %v", tt.now, got, tt.want)
		}
	}
	table.close(first)
	if got := read(); got != now || len(table.byPID) != 1 {
		t.Errorf("after one of two left: %d processes, want the one", len(table.byPID))
	}
	table.close(second)
	if len(table.byPID) != 0 {
		t.Errorf("after both left: %d processes, want none", len(table.byPID))
	}
	if _, err := table.open(t.Context(), math.MaxInt32); !errors.Is(err, host.ErrNoProcess) || len(table.byPID) != 0 {
		t.Errorf("open of no process = %v and leaves %d, want ErrNoProcess and none", err, len(table.byPID))
	}
}
