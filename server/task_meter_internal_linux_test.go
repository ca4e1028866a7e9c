package server

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A pass that waits for the kernel or for a CPU costs nothing meanwhile.
func TestPassCostsNoTimeOfWaiting(t *testing.T) {
	const wait = 50 * time.Millisecond
	m := startMeter()
	began := time.Now()
	for time.Since(began) < wait {
		_, _ = unix.Poll(nil, int(wait.Milliseconds())) // it may be interrupted
	}
	if cost := m.stop(); cost < 0 || cost >= wait {
		t.Errorf("a wait of %v costs %v", wait, cost)
	}
}
