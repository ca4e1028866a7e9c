package server_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

var sandboxEntries = flag.Int("sandbox.entries", 20_000, "how many names there are in a large sandbox")

// A sandbox with very many names, half of them second names of a file, is counted as du counts it, and takes little
// memory.
func TestLargeSandbox(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "headroom-test-") // a disk would take minutes for a million names
	if err != nil {
		dir = t.TempDir()
	}
	defer os.RemoveAll(dir)
	const folder = 1000 // names in each
	for i := range *sandboxEntries / 2 {
		sub := filepath.Join(dir, strconv.Itoa(2*i/folder))
		if 2*i%folder == 0 {
			if err := os.Mkdir(sub, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		name := filepath.Join(sub, strconv.Itoa(i))
		if err := os.WriteFile(name, make([]byte, i%100/99), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(name, name+"-again"); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("du", "-s", "--block-size=1", dir).Output()
	if err != nil {
		t.Skip(err)
	}
	var want int64
	fmt.Sscan(string(out), &want)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	walker := host.NewDiskWalker(host.DiskConfig{Share: 1, Deadline: time.Hour})
	defer walker.Close()
	answer := make(chan snapshot.DiskReading)
	walker.Start(host.DiskRequest{Path: dir, UID: -1}, func(r snapshot.DiskReading) { answer <- r })
	got := <-answer
	runtime.ReadMemStats(&after)
	if got.State != snapshot.DiskOK || got.Bytes != want {
		t.Errorf("%+v, want %d bytes as du says", got, want)
	}
	// A table of the files with several names is what it needs, 16 bytes each: doubled as it grows, and half empty.
	most := uint64(8<<20 + *sandboxEntries/2*128)
	if used := after.TotalAlloc - before.TotalAlloc; used > most {
		t.Errorf("%d KiB were allocated, want at most %d", used>>10, most>>10)
	}
	t.Logf("%d entries, %d KiB allocated, CPU %v", got.Entries, (after.TotalAlloc-before.TotalAlloc)>>10, got.CPU)
}
