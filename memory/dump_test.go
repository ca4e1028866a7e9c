package memory_test

import (
	"bytes"
	"errors"
	"math"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/memory"
)

// hoard keeps memory that a dump must show.
//
//go:noinline
func hoard() [][]byte {
	kept := make([][]byte, 1024)
	for i := range kept {
		kept[i] = make([]byte, 64<<10)
	}
	return kept
}

func TestDump(t *testing.T) {
	kept := hoard()
	runtime.GC()
	runtime.GC()
	var out bytes.Buffer
	d := memory.NewDumper(&out)
	if err := d.Dump(); err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(kept)
	line := regexp.MustCompile(`(?m)^ *(\d+) +(\d+)  .*memory_test\.hoard .*dump_test\.go:\d+`).FindStringSubmatch(out.String())
	if line == nil {
		t.Fatalf("no line for the site:\n%s", out.String())
	}
	size, _ := strconv.Atoi(line[1])
	objects, _ := strconv.Atoi(line[2])
	if size < 32<<20 || size > 128<<20 || objects < 512 || objects > 2048 {
		t.Errorf("%d bytes in %d objects, want about 64 MiB in 1024", size, objects)
	}
	last := math.MaxInt
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n")[2:] {
		size, err := strconv.Atoi(strings.Fields(line)[0])
		if err != nil || size > last {
			t.Errorf("line out of order: %s", line)
		}
		last = size
	}
	if strings.Contains(out.String(), "goroutine") {
		t.Error("Dump wrote stacks")
	}
}

func TestDumpAllHasTheStacksOfAllGoroutines(t *testing.T) {
	quit := make(chan struct{})
	started := make(chan struct{})
	go waitHere(started, quit)
	defer close(quit)
	<-started
	var out bytes.Buffer
	if err := memory.NewDumper(&out).DumpAll(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"live memory by allocation site", "waitHere", "TestDumpAllHasTheStacks"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the dump does not say %q", want)
		}
	}
}

//go:noinline
func waitHere(started chan<- struct{}, quit <-chan struct{}) {
	close(started)
	<-quit
}

type discard struct{ err error }

func (d discard) Write(p []byte) (int, error) { return len(p), d.err }

func TestDumpTakesItsMemoryBefore(t *testing.T) {
	kept := hoard()
	d := memory.NewDumper(discard{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		if err := d.DumpAll(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / 10; got > 16<<10 {
		t.Errorf("%d bytes allocated in a dump, want nearly none", got)
	}
	runtime.KeepAlive(kept)
}

func TestDumpReturnsTheErrorOfTheWriter(t *testing.T) {
	broken := errors.New("broken")
	if err := memory.NewDumper(discard{broken}).Dump(); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func TestRelease(t *testing.T) {
	kept := hoard()
	for i := range kept {
		for j := 0; j < len(kept[i]); j += 4096 {
			kept[i][j] = 1 // make it resident
		}
	}
	runtime.KeepAlive(kept)
	kept = nil
	if got := memory.Release(); got < 48<<20 {
		t.Errorf("%d bytes returned of 64 MiB of garbage", got)
	}
	if got := memory.Release(); got > 16<<20 {
		t.Errorf("%d bytes returned where there was no garbage", got)
	}
}

// A dump that could not be written does not keep the next one from being.
func TestDumpAfterAFault(t *testing.T) {
	w := &failingOnce{err: errors.New("full")}
	d := memory.NewDumper(w)
	if err := d.Dump(); !errors.Is(err, w.err) {
		t.Fatalf("Dump = %v, want %v", err, w.err)
	}
	if err := d.DumpAll(); err != nil || !strings.HasPrefix(w.String(), "live memory") {
		t.Errorf("the next dump: %v, written %.40q; want all of it", err, w.String())
	}
}

type failingOnce struct {
	bytes.Buffer
	err    error
	failed bool
}

func (w *failingOnce) Write(p []byte) (int, error) {
	if !w.failed {
		w.failed = true
		return 0, w.err
	}
	return w.Buffer.Write(p)
}
