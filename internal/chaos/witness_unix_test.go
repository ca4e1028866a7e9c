//go:build linux || darwin

package chaos

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/headroom-rpc/headroom/internal/boottime"
)

// A witness is a file in memory that all processes share. Its entries are in the order in which they were begun,
// whoever wrote them: a program begins one after it got a permit, and before it gives that back, so that between the
// two it held it.
type witness struct {
	next    *atomic.Int64
	entries []entry
}

// An entry is one thing that happened. It counts once it has a kind.
type entry struct {
	kind    atomic.Int32
	program int32 // by the number it was started with
	time    int64 // of the boot clock, in nanoseconds
}

const maxEntries = 1 << 20

// The kinds of entry.
const (
	workStarts    int32 = iota + 1
	workEnds            // by itself
	workLost            // with its permit
	programDies         // it is about to be killed
	programSleeps       // it is about to be stopped
	programWakes        // it was woken long enough ago to know what it lost
	serverFails
)

var kindNames = [...]string{"", "starts", "ends", "loses", "is killed", "is stopped", "is awake", "the server fails"}

// openWitness maps the file, which it makes if there is none.
func openWitness(name string) (*witness, error) {
	size := 64 + maxEntries*int(unsafe.Sizeof(entry{}))
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := file.Truncate(int64(size)); err != nil {
		return nil, err
	}
	b, err := syscall.Mmap(int(file.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &witness{
		next:    (*atomic.Int64)(unsafe.Pointer(&b[0])),
		entries: unsafe.Slice((*entry)(unsafe.Pointer(&b[64])), maxEntries),
	}, nil
}

// note adds an entry.
func (w *witness) note(kind int32, program int) error {
	i := w.next.Add(1) - 1
	if i >= maxEntries {
		return fmt.Errorf("more than %d entries", maxEntries)
	}
	e := &w.entries[i]
	e.program, e.time = int32(program), int64(boottime.Now())
	e.kind.Store(kind)
	return nil
}

// testimony is what the entries say.
type testimony struct {
	starts, lost, most int
	kills, stops       int
	serverFailures     int
}

// judge reports why the entries do not show that at most limit pieces of work ever ran at once. Work ends with the
// program that is killed, and does not run while that is stopped.
func (w *witness) judge(limit int) (testimony, error) {
	var said testimony
	running := make(map[int32]int)
	dead, asleep := make(map[int32]bool), make(map[int32]bool)
	total := 0
	// runs says how many pieces of the program's work run, and whether it is one that can run.
	runs := func(program int32, n int, isDead, isAsleep bool) {
		if !dead[program] && !asleep[program] {
			total -= running[program]
		}
		running[program], dead[program], asleep[program] = n, isDead, isAsleep
		if !isDead && !isAsleep {
			total += n
		}
	}
	for i := range w.entries[:min(w.next.Load(), maxEntries)] {
		e := &w.entries[i]
		kind, n := e.kind.Load(), running[e.program]
		isDead, isAsleep := dead[e.program], asleep[e.program]
		switch kind {
		case workStarts:
			n++
			said.starts++
		case workEnds:
			n--
		case workLost:
			n--
			said.lost++
		case programDies:
			isDead = true
			said.kills++
		case programSleeps:
			isAsleep = true
			said.stops++
		case programWakes:
			isAsleep = false
		case serverFails:
			said.serverFailures++
		}
		runs(e.program, n, isDead, isAsleep)
		if running[e.program] < 0 {
			return said, fmt.Errorf("program %d ended more than it had started\n%s", e.program, w.excerpt(i))
		}
		if total > limit {
			return said, fmt.Errorf("%d ran at once, and the limit is %d\n%s", total, limit, w.excerpt(i))
		}
		said.most = max(said.most, total)
	}
	return said, nil
}

// excerpt returns the entries up to the i-th.
func (w *witness) excerpt(i int) string {
	var lines strings.Builder
	for j := max(0, i-120); j <= i; j++ {
		e := &w.entries[j]
		fmt.Fprintf(&lines, "%14.6f program %d %s\n", time.Duration(e.time).Seconds(), e.program, kindNames[e.kind.Load()])
	}
	return lines.String()
}

// The witness finds too many at once, and knows who cannot run.
func TestWitnessJudges(t *testing.T) {
	type note struct {
		kind    int32
		program int
	}
	for name, test := range map[string]struct {
		bad   bool
		notes []note
	}{
		"in turns":         {false, []note{{workStarts, 1}, {workEnds, 1}, {workStarts, 2}}},
		"as many":          {false, []note{{workStarts, 1}, {workStarts, 2}}},
		"after a kill":     {false, []note{{workStarts, 1}, {workStarts, 1}, {programDies, 1}, {workStarts, 2}, {workStarts, 2}}},
		"while stopped":    {false, []note{{workStarts, 1}, {workStarts, 1}, {programSleeps, 1}, {workStarts, 2}, {workLost, 1}, {programWakes, 1}}},
		"killed asleep":    {false, []note{{workStarts, 1}, {programSleeps, 1}, {programDies, 1}, {workStarts, 2}, {workStarts, 2}}},
		"too many":         {true, []note{{workStarts, 1}, {workStarts, 2}, {workStarts, 3}}},
		"too many of one":  {true, []note{{workStarts, 1}, {workStarts, 1}, {workStarts, 1}}},
		"not stopped work": {true, []note{{workStarts, 1}, {workStarts, 1}, {programSleeps, 1}, {workStarts, 2}, {programWakes, 1}}},
		"another's death":  {true, []note{{workStarts, 1}, {workStarts, 1}, {programDies, 2}, {workStarts, 3}}},
		"woken dead":       {false, []note{{workStarts, 1}, {programSleeps, 1}, {programDies, 1}, {workStarts, 1}, {programWakes, 1}, {workStarts, 2}}},
		"ended twice":      {true, []note{{workStarts, 1}, {workEnds, 1}, {workLost, 1}}},
	} {
		w, err := openWitness(t.TempDir() + "/witness")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range test.notes {
			if err := w.note(n.kind, n.program); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.judge(2); (err != nil) != test.bad {
			t.Errorf("%s: judge = %v, want an error: %v", name, err, test.bad)
		}
	}
}
