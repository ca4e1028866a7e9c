//go:build linux || darwin

package chaos

import (
	"cmp"
	"fmt"
	"os"
	"slices"
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
	beats   []atomic.Int64 // when each program was last seen to run, by the boot clock; 0 for never
	entries []entry
}

// An entry is one thing that happened. It counts once it has a kind.
type entry struct {
	kind    atomic.Int32
	program int32 // by the number it was started with
	time    int64 // of the boot clock, in nanoseconds; of programStalls that of its last beat
}

const (
	maxEntries  = 1 << 20
	maxPrograms = 1 << 16
)

// The kinds of entry.
const (
	workStarts      int32 = iota + 1
	workEnds              // by itself
	workLost              // with its permit
	programDies           // it is about to be killed
	programSleeps         // it is about to be stopped
	programWakes          // it was woken long enough ago to know what it lost
	programStalls         // it was not run since the time of the entry
	programRecovers       // it has run for long enough since then to know what it lost
	serverFails
)

var kindNames = [...]string{"", "starts", "ends", "loses", "is killed", "is stopped", "is awake", "was stalled", "runs again", "the server fails"}

// openWitness maps the file, which it makes if there is none.
func openWitness(name string) (*witness, error) {
	const first = 64 + 8*maxPrograms
	size := first + maxEntries*int(unsafe.Sizeof(entry{}))
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
		beats:   unsafe.Slice((*atomic.Int64)(unsafe.Pointer(&b[64])), maxPrograms),
		entries: unsafe.Slice((*entry)(unsafe.Pointer(&b[first])), maxEntries),
	}, nil
}

// note adds an entry.
func (w *witness) note(kind int32, program int) error {
	return w.noteAt(kind, program, boottime.Now())
}

func (w *witness) noteAt(kind int32, program int, at time.Duration) error {
	i := w.next.Add(1) - 1
	if i >= maxEntries {
		return fmt.Errorf("more than %d entries", maxEntries)
	}
	e := &w.entries[i]
	e.program, e.time = int32(program), int64(at)
	e.kind.Store(kind)
	return nil
}

const (
	// beatEvery is how often a program shows that it runs.
	beatEvery = 50 * time.Millisecond

	// stalledAfter is how long after its last beat a program counts as one that nobody runs. It is far less than the grace
	// of a lease.
	stalledAfter = 300 * time.Millisecond

	// recovery is how many beats after that it knows.
	recovery = 4
)

// beat shows that the program runs, until it ends, and tells when it did not: who is not run cannot take note of a lease
// that has ended.
func (w *witness) beat(program int) error {
	var err error
	for good := recovery; err == nil; time.Sleep(beatEvery) {
		now := boottime.Now()
		last := time.Duration(w.beats[program].Swap(int64(now)))
		switch {
		case last != 0 && now-last > stalledAfter:
			good = 0
			err = w.noteAt(programStalls, program, last)
		case good < recovery:
			if good++; good == recovery {
				err = w.note(programRecovers, program)
			}
		}
	}
	return err
}

// examine tells on behalf of a program that it is stalled, if it is: it may be killed before it can.
func (w *witness) examine(program int) error {
	last := time.Duration(w.beats[program].Load())
	if last == 0 || boottime.Now()-last <= stalledAfter {
		return nil
	}
	return w.noteAt(programStalls, program, last)
}

// testimony is what the entries say.
type testimony struct {
	starts, lost, most int
	kills, stops       int
	stalls             int // with those of the stopped
	serverFailures     int
}

// judge reports why the entries do not show that at most limit pieces of work ever ran at once. Work ends with the
// program that is killed, and does not run while that is stopped or stalled.
func (w *witness) judge(limit int) (testimony, error) {
	var said testimony
	entries := w.entries[:min(w.next.Load(), maxEntries)]
	var stalls []*entry // which are told of when they are over
	for i := range entries {
		if e := &entries[i]; e.kind.Load() == programStalls {
			stalls = append(stalls, e)
		}
	}
	slices.SortFunc(stalls, func(a, b *entry) int { return cmp.Compare(a.time, b.time) })
	type state struct {
		running               int // pieces of its work
		dead, asleep, stalled bool
	}
	programs := make(map[int32]state)
	total := 0
	set := func(program int32, after state) {
		for n, s := range map[int]state{-1: programs[program], 1: after} {
			if !s.dead && !s.asleep && !s.stalled {
				total += n * s.running
			}
		}
		programs[program] = after
	}
	for i := range entries {
		e := &entries[i]
		kind := e.kind.Load()
		for kind != programStalls && len(stalls) > 0 && stalls[0].time <= e.time {
			s := programs[stalls[0].program]
			s.stalled = true
			set(stalls[0].program, s)
			stalls = stalls[1:]
		}
		s := programs[e.program]
		switch kind {
		case workStarts:
			s.running++
			said.starts++
		case workEnds:
			s.running--
		case workLost:
			s.running--
			said.lost++
		case programDies:
			s.dead = true
			said.kills++
		case programSleeps:
			s.asleep = true
			said.stops++
		case programWakes:
			s.asleep = false
		case programStalls:
			said.stalls++
		case programRecovers:
			s.stalled = false
		case serverFails:
			said.serverFailures++
		}
		set(e.program, s)
		if s.running < 0 {
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
	began := boottime.Now()
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
		"while stalled":    {false, []note{{workStarts, 1}, {workStarts, 1}, {workStarts, 2}, {programStalls, 1}, {workLost, 1}, {programRecovers, 1}}},
		"killed stalled":   {false, []note{{workStarts, 1}, {workStarts, 1}, {workStarts, 2}, {programStalls, 1}, {programDies, 1}}},
		"stalled before":   {true, []note{{programStalls, 1}, {programRecovers, 1}, {workStarts, 1}, {workStarts, 1}, {workStarts, 2}}},
		"another's stall":  {true, []note{{workStarts, 1}, {workStarts, 1}, {workStarts, 3}, {programStalls, 2}}},
		"ended twice":      {true, []note{{workStarts, 1}, {workEnds, 1}, {workLost, 1}}},
	} {
		w, err := openWitness(t.TempDir() + "/witness")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range test.notes {
			at := boottime.Now()
			if n.kind == programStalls {
				at = began
			}
			if err := w.noteAt(n.kind, n.program, at); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.judge(2); (err != nil) != test.bad {
			t.Errorf("%s: judge = %v, want an error: %v", name, err, test.bad)
		}
	}
}
