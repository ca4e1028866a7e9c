package host

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/load"

	"github.com/headroom-rpc/headroom/snapshot"
)

// A bracket is the least and the most that a share can be by two pairs of readings of gopsutil: the truth lies
// between what the inner two and the outer two say.
type bracket struct{ least, most float64 }

// bracketOf takes readings made before and after each of two others. part returns the part that is shared out, and
// all its whole, in seconds.
func bracketOf(before, begin, end, after cpu.TimesStat, part func(cpu.TimesStat) float64) bracket {
	all := func(s cpu.TimesStat) float64 {
		return s.User + s.Nice + s.System + s.Idle + s.Iowait + s.Irq + s.Softirq + s.Steal
	}
	const back = 0.02 // s by which the idle times may go back
	return bracket{
		least: (part(end) - part(begin) - back) / (all(after) - all(before) + back),
		most:  (part(after) - part(before) + back) / max(0.01, all(end)-all(begin)-back),
	}
}

func (b bracket) check(t *testing.T, name string, got float64) {
	t.Helper()
	if got < b.least || got > b.most {
		t.Errorf("%s = %v, want %v to %v", name, got, b.least, b.most)
	}
}

func TestCPUAgainstGopsutil(t *testing.T) {
	read := func() (cpu.TimesStat, []cpu.TimesStat) {
		total, err := cpu.Times(false)
		if err != nil || len(total) != 1 {
			t.Skip(total, err)
		}
		each, err := cpu.Times(true)
		if err != nil {
			t.Skip(err)
		}
		return total[0], each
	}
	s := newCPUSource("", procfs, NoCgroup, snapshot.ScopeHost)
	defer s.close()
	before, eachBefore := read()
	if _, err := s.read(context.Background(), time.Now()); !errors.Is(err, errFirst) {
		t.Fatalf("first reading = %v, want %v", err, errFirst)
	}
	begin, eachBegin := read()
	for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
	}
	end, eachEnd := read()
	loadBefore, err := load.Avg()
	if err != nil {
		t.Skip(err)
	}
	got, err := s.read(context.Background(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	loadAfter, err := load.Avg()
	if err != nil {
		t.Skip(err)
	}
	after, eachAfter := read()

	busy := func(s cpu.TimesStat) float64 { return s.User + s.Nice + s.System + s.Irq + s.Softirq + s.Steal }
	used := bracketOf(before, begin, end, after, busy)
	used.check(t, "Used", got.Used)
	used.check(t, "HostUsed", got.HostUsed)
	bracketOf(before, begin, end, after, func(s cpu.TimesStat) float64 { return s.Iowait }).check(t, "IOWait", got.IOWait)
	bracketOf(before, begin, end, after, func(s cpu.TimesStat) float64 { return s.Steal }).check(t, "Steal", got.Steal)
	if got.HostCores != float64(len(eachAfter)) {
		t.Fatalf("HostCores = %v, want %d", got.HostCores, len(eachAfter))
	}
	var hottest bracket
	for i := range eachAfter {
		b := bracketOf(eachBefore[i], eachBegin[i], eachEnd[i], eachAfter[i], busy)
		hottest = bracket{max(hottest.least, b.least), max(hottest.most, b.most)}
	}
	hottest.check(t, "Hottest", got.Hottest)
	if got.Load < min(loadBefore.Load1, loadAfter.Load1) || got.Load > max(loadBefore.Load1, loadAfter.Load1) || !got.LoadKnown {
		t.Errorf("Load = %v, want %v to %v", got.Load, loadBefore.Load1, loadAfter.Load1)
	}
	if got.Runnable < 1 {
		t.Errorf("Runnable = %d, want at least the task that reads", got.Runnable)
	}
}
