package main

import (
	"os"
	"testing"
)

// threads counts those of this process.
func threads(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// The threads that are made stay, so that none has to be made later.
func TestMakeThreads(t *testing.T) {
	n := threads(t) + 5
	makeThreads(n)
	if got := threads(t); got < n {
		t.Errorf("%d threads, want at least the %d that were made", got, n)
	}
}
