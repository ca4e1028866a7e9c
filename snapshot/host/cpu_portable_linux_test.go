package host_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot/host"
)

// writeStat makes dir/stat the kernel's answer: the total line given and one CPU for each of cpus.
func writeStat(t *testing.T, dir, total string, cpus int) {
	t.Helper()
	var text strings.Builder
	text.WriteString("cpu  " + total + "\n")
	for i := range cpus {
		text.WriteString("cpu" + strconv.Itoa(i) + " 1 0 1 1 0 0 0 0 0 0\n")
	}
	text.WriteString("intr 1 2 3\nctxt 4\n")
	if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPortableCPU(t *testing.T) {
	// Fields: user nice system idle iowait irq softirq steal guest guest_nice, in ticks of 10 ms.
	// lines[0] is read first, lines[1] 100 ms later by the same call, and each other line by the next call.
	tests := []struct {
		name  string
		lines []string
		want  []float64 // NaN: an error
	}{
		{"idle", []string{
			"100 0 100 1000 0 0 0 0 0 0",
			"100 0 100 1020 0 0 0 0 0 0",
		}, []float64{0}},
		{"every core busy", []string{
			"100 0 100 1000 0 0 0 0 0 0",
			"115 0 105 1000 0 0 0 0 0 0",
		}, []float64{1}},
		{"every kind of work counts", []string{
			"0 0 0 0 0 0 0 0 0 0",
			"1 2 3 13 0 4 5 0 0 0",
		}, []float64{15. / 28}},
		{"waiting for I/O is idle", []string{
			"0 0 0 0 0 0 0 0 0 0",
			"5 0 0 5 10 0 0 0 0 0",
		}, []float64{0.25}},
		{"stolen time is busy", []string{
			"0 0 0 0 0 0 0 0 0 0",
			"5 0 0 10 0 0 0 5 0 0",
		}, []float64{0.5}},
		{"a guest's time is in user and nice already", []string{
			"0 0 0 0 0 0 0 0 0 0",
			"10 10 0 20 0 0 0 0 10 10",
		}, []float64{0.5}},
		{"each call looks at the time since the last", []string{
			"0 0 0 0 0 0 0 0 0 0",
			"10 0 0 10 0 0 0 0 0 0",
			"10 0 0 110 0 0 0 0 0 0",
			"110 0 0 110 0 0 0 0 0 0",
		}, []float64{0.5, 0, 1}},
		{"a field that goes back counts as no time", []string{
			"0 0 0 100 50 0 0 0 0 0",
			"10 0 0 110 20 0 0 0 0 0",
			"5 0 0 120 20 0 0 0 0 0",
		}, []float64{0.5, 0}},
		{"no time passed, then the next call covers it", []string{
			"0 0 0 0 0 0 0 0 0 0",
			"5 0 0 5 0 0 0 0 0 0",
			"5 0 0 5 0 0 0 0 0 0",
			"20 0 0 10 0 0 0 0 0 0",
		}, []float64{0.5, math.NaN(), 0.75}},
		{"no time passed at first", []string{
			"5 0 0 5 0 0 0 0 0 0",
			"5 0 0 5 0 0 0 0 0 0",
			"8 0 0 6 0 0 0 0 0 0",
		}, []float64{math.NaN(), 0.75}},
		{"an old kernel without steal and guest", []string{
			"0 0 0 0 0 0 0",
			"3 0 0 1 0 0 0",
		}, []float64{0.75}},
		{"a malformed line, then a good one", []string{
			"0 0 0 0 0 0 0 0 0 0",
			"1 0 0 1 0 0 0 0 0 0",
			"many 0 0 1 0 0 0 0 0 0",
			"4 0 0 2 0 0 0 0 0 0",
		}, []float64{0.5, math.NaN(), 0.75}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("HOST_PROC", dir)
			synctest.Test(t, func(t *testing.T) {
				read := host.PortableCPU()
				writeStat(t, dir, tt.lines[0], 4)
				time.AfterFunc(99*time.Millisecond, func() { writeStat(t, dir, tt.lines[1], 4) })
				for i, want := range tt.want {
					if i > 0 {
						writeStat(t, dir, tt.lines[i+1], 4)
					}
					begun := time.Now()
					got, err := read(t.Context())
					if math.IsNaN(want) {
						if err == nil {
							t.Errorf("call %d = %+v, want an error", i, got)
						}
						continue
					}
					if err != nil {
						t.Fatalf("call %d: %v", i, err)
					}
					if math.Abs(got.Used-want) > 1e-9 || got.Cores != 4 || got.Source == "" {
						t.Errorf("call %d = %+v, want Used %v of 4 Cores and a Source", i, got, want)
					}
					wait := 100 * time.Millisecond
					if i > 0 {
						wait = 0
					}
					if d := time.Since(begun); d != wait {
						t.Errorf("call %d took %v, want %v", i, d, wait)
					}
				}
			})
		})
	}
}

func TestPortableCPUWithoutASource(t *testing.T) {
	t.Setenv("HOST_PROC", t.TempDir())
	if got, err := host.PortableCPU()(t.Context()); err == nil {
		t.Errorf("CPU with an empty /proc = %+v, want an error", got)
	}
}

func TestPortableCPUEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOST_PROC", dir)
	writeStat(t, dir, "0 0 0 0 0 0 0 0 0 0", 1)
	synctest.Test(t, func(t *testing.T) {
		read := host.PortableCPU()
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
		defer cancel()
		begun := time.Now()
		if got, err := read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read = %+v, %v; want %v", got, err, context.DeadlineExceeded)
		}
		if d := time.Since(begun); d != 40*time.Millisecond {
			t.Errorf("read returned after %v, want 40ms", d)
		}
		if got, err := read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read after the end = %+v, %v; want %v", got, err, context.DeadlineExceeded)
		}

		// The next call looks at the time since the first reading.
		writeStat(t, dir, "1 0 0 3 0 0 0 0 0 0", 1)
		if got, err := read(t.Context()); err != nil || got.Used != 0.25 {
			t.Errorf("read = %+v, %v; want Used 0.25", got, err)
		}
	})
}

// ticks is one reading of the total line of /proc/stat.
type ticks struct{ busy, idle float64 }

func readTicks(t *testing.T) ticks {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	var sum ticks
	for i, field := range fields[1:9] { // without guest and guest_nice
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			t.Fatal(err)
		}
		if i == 3 || i == 4 {
			sum.idle += n
		} else {
			sum.busy += n
		}
	}
	return sum
}

// The oracle reads /proc/stat before and after each of the two calls, so the truth lies between what the
// inner two and the outer two readings say.
func TestPortableCPUAgainstProcStat(t *testing.T) {
	if _, err := os.Stat("/proc/stat"); err != nil {
		t.Skip(err)
	}
	read := host.PortableCPU()
	before := readTicks(t)
	if _, err := read(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := readTicks(t)
	for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
	}
	end := readTicks(t)
	got, err := read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after := readTicks(t)

	const back = 2 // ticks by which the idle times may go back
	least := (end.busy - begin.busy) / (after.busy - before.busy + after.idle - before.idle + back)
	most := (after.busy - before.busy) / max(1, end.busy-begin.busy+end.idle-begin.idle-back)
	if got.Used < least || got.Used > most || got.Used > 1 {
		t.Errorf("Used = %v, want %v to %v", got.Used, least, min(1, most))
	}
	cpus := 0
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(stat)) {
		if strings.HasPrefix(line, "cpu") && !strings.HasPrefix(line, "cpu ") {
			cpus++
		}
	}
	if got.Cores != float64(cpus) {
		t.Errorf("Cores = %v, want the %d of /proc/stat", got.Cores, cpus)
	}
}
