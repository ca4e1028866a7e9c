//go:build unix

package main

import (
	"os"
	"testing"
)

// A watchdog knows whose commands it ends, also when it begins after that process was killed.
func TestGroupTableNamesItsOwner(t *testing.T) {
	table, err := newGroupTable()
	if err != nil {
		t.Fatal(err)
	}
	defer table.close()
	table.set(1, 4711)
	inherited, err := inheritTable(table.file)
	if err != nil {
		t.Fatal(err)
	}
	if got := inherited.all(); inherited.owner != os.Getpid() || len(got) != 1 || got[0] != 4711 {
		t.Errorf("owner %d with groups %v, want %d with 4711", inherited.owner, got, os.Getpid())
	}
}
