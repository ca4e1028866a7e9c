package host_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// ticksOf are the CPU times of one CPU in ticks of 10 ms.
type ticksOf struct{ busy, idle, iowait, steal int }

// stat returns the text of /proc/stat for the CPUs by their number; nil is one that is offline. off says which part
// of a total is of no CPU online.
func stat(off ticksOf, cpus ...*ticksOf) string {
	var lines strings.Builder
	total := off
	for i, c := range cpus {
		if c == nil {
			continue
		}
		total = ticksOf{total.busy + c.busy, total.idle + c.idle, total.iowait + c.iowait, total.steal + c.steal}
		fmt.Fprintf(&lines, "cpu%d %d 0 0 %d %d 0 0 %d 7 0\n", i, c.busy, c.idle, c.iowait, c.steal)
	}
	return fmt.Sprintf("cpu  %d 0 0 %d %d 0 0 %d 7 0\n%sintr 9 9\nctxt 4\nprocs_running 3\n",
		total.busy, total.idle, total.iowait, total.steal, lines.String())
}

// A cpuStep is one call of the source.
type cpuStep struct {
	after time.Duration // the call before; for the first, which takes 100 ms, when it writes
	write files
	want  snapshot.CPUReading
	err   string // what the error says, instead of want
}

func round(r snapshot.CPUReading) snapshot.CPUReading {
	for _, f := range []*float64{&r.Used, &r.Cores, &r.HostUsed, &r.Hottest, &r.IOWait, &r.Steal, &r.Throttled, &r.Load} {
		*f = math.Round(*f*1e6) / 1e6
	}
	return r
}

// runCPU makes the calls in a bubble. The sources in the want are below the root.
func runCPU(t *testing.T, c host.Config, before files, steps []cpuStep) {
	t.Helper()
	c.Root = t.TempDir()
	before.write(t, c.Root)
	synctest.Test(t, func(t *testing.T) {
		h, err := host.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		for i, step := range steps {
			if i == 0 {
				time.AfterFunc(50*time.Millisecond, func() { step.write.write(t, c.Root) })
			} else {
				time.Sleep(step.after)
				step.write.write(t, c.Root)
			}
			begun := time.Now()
			got, err := h.Sources().CPU(t.Context())
			got.Source = strings.TrimPrefix(got.Source, c.Root)
			if step.err != "" {
				if err == nil || !strings.Contains(err.Error(), step.err) {
					t.Errorf("call %d = %+v, %v; want an error with %q", i, got, err, step.err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
			if round(got) != round(step.want) {
				t.Errorf("call %d = %+v\nwant %+v", i, round(got), step.want)
			}
			if took := time.Since(begun); i > 0 && took != 0 {
				t.Errorf("call %d took %v, want no time", i, took)
			}
		}
	})
}

// hostReading returns a reading of a bare host.
func hostReading(used, cores, hottest, iowait, steal float64) snapshot.CPUReading {
	return snapshot.CPUReading{
		Used: used, Cores: cores, Limit: "CPUs of the host", Source: "/proc/stat",
		HostUsed: used, HostCores: cores, HostKnown: true, Hottest: hottest, IOWait: iowait, Steal: steal,
	}
}

// bigIntr is a line of interrupts.
var bigIntr = "intr" + strings.Repeat(" 0", 6<<10) + "\n"

func TestCPUOfTheHost(t *testing.T) {
	none := ticksOf{}
	withLoad := func(r snapshot.CPUReading, load float64, runnable int64) snapshot.CPUReading {
		r.Load, r.Runnable, r.LoadKnown = load, runnable, true
		return r
	}
	tests := []struct {
		name   string
		before files
		steps  []cpuStep
	}{
		{"one hot core, steal and waiting apart", files{"proc/stat": stat(none, &none, &none)}, []cpuStep{
			{0, files{"proc/stat": stat(none, &ticksOf{8, 0, 0, 2}, &ticksOf{1, 4, 5, 0})}, hostReading(11./20, 2, 1, 0.25, 0.1), ""},
		}},
		{"each call at the interval looks at the time since the last",
			files{"proc/stat": stat(none, &none)}, []cpuStep{
				{0, files{"proc/stat": stat(none, &ticksOf{10, 0, 0, 0})}, hostReading(1, 1, 1, 0, 0), ""},
				{time.Second, files{"proc/stat": stat(none, &ticksOf{10, 100, 0, 0})}, hostReading(0, 1, 0, 0, 0), ""},
				{time.Second, files{"proc/stat": stat(none, &ticksOf{60, 150, 0, 0})}, hostReading(0.5, 1, 0.5, 0, 0), ""},
				{5 * time.Second, files{"proc/stat": stat(none, &ticksOf{560, 150, 0, 0})}, hostReading(1, 1, 1, 0, 0), ""},
				{950 * time.Millisecond, files{"proc/stat": stat(none, &ticksOf{560, 245, 0, 0})}, hostReading(0, 1, 0, 0, 0), ""},
			}},
		{"at 250 ms calls look at about a second",
			files{"proc/stat": stat(none, &none)}, []cpuStep{
				{0, files{"proc/stat": stat(none, &ticksOf{0, 10, 0, 0})}, hostReading(0, 1, 0, 0, 0), ""},
				{250 * time.Millisecond, files{"proc/stat": stat(none, &ticksOf{25, 10, 0, 0})}, hostReading(25./35, 1, 25./35, 0, 0), ""},
				{250 * time.Millisecond, files{"proc/stat": stat(none, &ticksOf{25, 35, 0, 0})}, hostReading(25./60, 1, 25./60, 0, 0), ""},
				{250 * time.Millisecond, files{"proc/stat": stat(none, &ticksOf{25, 60, 0, 0})}, hostReading(25./85, 1, 25./85, 0, 0), ""},
				{250 * time.Millisecond, files{"proc/stat": stat(none, &ticksOf{25, 85, 0, 0})}, hostReading(0.25, 1, 0.25, 0, 0), ""},
				{250 * time.Millisecond, files{"proc/stat": stat(none, &ticksOf{25, 110, 0, 0})}, hostReading(0, 1, 0, 0, 0), ""},
			}},
		{"a /proc/stat of 12 KiB is read once in 270 ms", files{"proc/stat": stat(none, &none)}, []cpuStep{
			{0, files{"proc/stat": stat(none, &ticksOf{10, 0, 0, 0}) + bigIntr}, hostReading(1, 1, 1, 0, 0), ""},
			{250 * time.Millisecond, files{"proc/stat": stat(none, &ticksOf{10, 25, 0, 0}) + bigIntr}, hostReading(1, 1, 1, 0, 0), ""},
			{20 * time.Millisecond, nil, hostReading(10./35, 1, 10./35, 0, 0), ""},
		}},
		{"fields that go back count as no time",
			files{"proc/stat": stat(none, &ticksOf{50, 100, 50, 0})}, []cpuStep{
				{0, files{"proc/stat": stat(none, &ticksOf{60, 110, 20, 0})}, hostReading(0.5, 1, 0.5, 0, 0), ""},
				{time.Second, files{"proc/stat": stat(none, &ticksOf{10, 130, 20, 0})}, hostReading(0, 1, 0, 0, 0), ""},
			}},
		{"a CPU goes and another comes", files{"proc/stat": stat(none, &none, &none, nil)}, []cpuStep{
			{0, files{"proc/stat": stat(ticksOf{10, 0, 0, 0}, &ticksOf{5, 5, 0, 0}, nil, nil)}, hostReading(0.75, 1, 0.5, 0, 0), ""},
			{time.Second, files{"proc/stat": stat(ticksOf{10, 0, 0, 0}, &ticksOf{5, 55, 0, 0}, nil, &ticksOf{50, 0, 0, 0})},
				hostReading(0.5, 2, 0, 0, 0), ""},
			{time.Second, files{"proc/stat": stat(ticksOf{10, 0, 0, 0}, &ticksOf{5, 105, 0, 0}, nil, &ticksOf{100, 0, 0, 0})},
				hostReading(0.5, 2, 1, 0, 0), ""},
		}},
		{"a CPU that comes back tells nothing of the time before", files{"proc/stat": stat(none, &none, &none)}, []cpuStep{
			{0, files{"proc/stat": stat(ticksOf{0, 10, 0, 0}, &ticksOf{0, 10, 0, 0})}, hostReading(0, 1, 0, 0, 0), ""},
			{time.Second, files{"proc/stat": stat(none, &ticksOf{0, 110, 0, 0}, &ticksOf{50, 60, 0, 0})}, hostReading(0.25, 2, 0, 0, 0), ""},
		}},
		{"no time passed, then the next call covers it", files{"proc/stat": stat(none, &none)}, []cpuStep{
			{0, nil, snapshot.CPUReading{}, "no time passed"},
			{time.Second, files{"proc/stat": stat(none, &ticksOf{60, 50, 0, 0})}, hostReading(60./110, 1, 60./110, 0, 0), ""},
		}},
		{"load and what is runnable", files{"proc/stat": stat(none, &none), "proc/loadavg": "0.5 bad\n"}, []cpuStep{
			{0, files{"proc/stat": stat(none, &ticksOf{0, 10, 0, 0})}, hostReading(0, 1, 0, 0, 0), ""},
			{time.Second, files{"proc/stat": stat(none, &ticksOf{0, 110, 0, 0}), "proc/loadavg": "1.55 0.18 0.49 4/95 7219\n"},
				withLoad(hostReading(0, 1, 0, 0, 0), 1.55, 4), ""},
		}},
		{"malformed, then good", files{"proc/stat": stat(none, &none)}, []cpuStep{
			{0, files{"proc/stat": "cpu  many 0 0 1\n"}, snapshot.CPUReading{}, "many"},
			{time.Second, files{"proc/stat": stat(none, &ticksOf{30, 70, 0, 0})}, hostReading(0.3, 1, 0.3, 0, 0), ""},
		}},
		{"missing, and tried again after 30 s", nil, []cpuStep{
			{0, files{"proc/stat": stat(none, &none)}, snapshot.CPUReading{}, "no such file"},
			{29 * time.Second, nil, snapshot.CPUReading{}, "no such file"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			runCPU(t, host.Config{Cgroup: host.NoCgroup}, tt.before, tt.steps)
		})
	}
}

func TestCPUEndsWithItsContext(t *testing.T) {
	root := t.TempDir()
	files{"proc/stat": stat(ticksOf{}, &ticksOf{})}.write(t, root)
	synctest.Test(t, func(t *testing.T) {
		h, err := host.Open(host.Config{Root: root, Cgroup: host.NoCgroup})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
		defer cancel()
		begun := time.Now()
		if got, err := h.Sources().CPU(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 40*time.Millisecond {
			t.Errorf("CPU = %+v, %v after %v; want %v after 40ms", got, err, time.Since(begun), context.DeadlineExceeded)
		}
		if got, err := h.Sources().CPU(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("CPU after the end = %+v, %v; want %v", got, err, context.DeadlineExceeded)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if got, err := h.Sources().CPU(t.Context()); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("CPU after Close = %+v, %v; want %v", got, err, fs.ErrClosed)
		}
		for _, c := range h.Costs() {
			want := host.Cost{Name: c.Name}
			if c.Name == snapshot.SignalCPU {
				want.Reads = 1
			}
			if c.Reads != want.Reads || c.Errors != 0 {
				t.Errorf("cost %+v, want %d reads without errors", c, want.Reads)
			}
		}
	})
}
