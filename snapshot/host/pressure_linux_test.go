package host_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

func psi(some, full int) string {
	return fmt.Sprintf("some avg10=9.00 avg60=9.00 avg300=9.00 total=%d\nfull avg10=9.00 avg60=9.00 avg300=9.00 total=%d\n", some, full)
}

func TestPressure(t *testing.T) {
	type step struct {
		after time.Duration // the call before; for the first, which takes 100 ms, when it writes
		write files
		want  snapshot.PressureReading
		err   string
	}
	reading := func(stalled snapshot.Resource, some, full float64, known bool, source string) snapshot.PressureReading {
		return snapshot.PressureReading{Stalled: stalled, Some: some, Full: full, FullKnown: known, Source: source}
	}
	const (
		memory = "proc/pressure/memory"
		cpu    = "proc/pressure/cpu"
		io     = "proc/pressure/io"
		own    = "sys/fs/cgroup/pods/pod1/app/"
	)
	tests := []struct {
		name    string
		stalled snapshot.Resource
		config  host.Config
		before  files
		steps   []step
	}{
		{"exact over any interval", snapshot.Memory, host.Config{}, files{memory: psi(1000, 500)}, []step{
			{0, files{memory: psi(1000+50_000, 500+25_000)}, reading(snapshot.Memory, 0.5, 0.25, true, "/proc/pressure/memory"), ""},
			{50 * time.Millisecond, files{memory: psi(51_000+10_000, 25_500)}, reading(snapshot.Memory, 0.2, 0, true, "/proc/pressure/memory"), ""},
			{2 * time.Second, files{memory: psi(61_000+200_000, 25_500+100_000)}, reading(snapshot.Memory, 0.1, 0.05, true, "/proc/pressure/memory"), ""},
			{time.Millisecond, files{memory: psi(61_000+201_000, 25_500+100_000)}, reading(snapshot.Memory, 0.1, 0.05, true, "/proc/pressure/memory"), ""},
		}},
		{"more than all of the time, and back", snapshot.Resource(0), host.Config{}, files{io: psi(1000, 500)}, []step{
			{0, files{io: psi(1_000_000, 0)}, reading(0, 1, 0, true, "/proc/pressure/io"), ""},
		}},
		{"a kernel without full for the CPU", snapshot.CPU, host.Config{}, files{cpu: "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"}, []step{
			{0, files{cpu: "some avg10=0.00 avg60=0.00 avg300=0.00 total=10000\n"}, reading(snapshot.CPU, 0.1, 0, false, "/proc/pressure/cpu"), ""},
		}},
		{"full of the host's CPUs means nothing", snapshot.CPU, host.Config{}, files{cpu: psi(0, 0)}, []step{
			{0, files{cpu: psi(10_000, 0)}, reading(snapshot.CPU, 0.1, 0, false, "/proc/pressure/cpu"), ""},
		}},
		{"switched off, and on", snapshot.CPU, host.Config{}, nil, []step{
			{0, files{cpu: psi(0, 0)}, snapshot.PressureReading{}, "psi=1 on the kernel command line"},
			{29 * time.Second, nil, snapshot.PressureReading{}, "psi=1 on the kernel command line"},
		}},
		{"malformed", snapshot.Memory, host.Config{}, files{memory: "some avg10=0.00 total=1x\n"}, []step{
			{0, nil, snapshot.PressureReading{}, "total=1x"},
		}},
		{"the cgroup's own under a limit", snapshot.CPU, host.Config{},
			podFiles(files{cpu: psi(0, 0), own + "cpu.pressure": psi(0, 0)}), []step{
				{0, files{own + "cpu.pressure": psi(30_000, 20_000)},
					reading(snapshot.CPU, 0.3, 0.2, true, "cpu.pressure of /pods/pod1/app"), ""},
			}},
		{"the cgroup's own for I/O too", 0, host.Config{},
			podFiles(files{io: psi(0, 0), own + "io.pressure": psi(0, 0)}), []step{
				{0, files{own + "io.pressure": psi(30_000, 20_000)}, reading(0, 0.3, 0.2, true, "io.pressure of /pods/pod1/app"), ""},
			}},
		{"the host's where the cgroup does not tell", snapshot.CPU, host.Config{}, podFiles(files{cpu: psi(0, 0)}), []step{
			{0, files{cpu: psi(10_000, 0)}, reading(snapshot.CPU, 0.1, 0, false, "/proc/pressure/cpu"), ""},
		}},
		{"the host's without a limit", snapshot.Memory, host.Config{},
			podFiles(files{memory: psi(0, 0), own + "memory.pressure": psi(0, 0), "sys/fs/cgroup/pods/pod1/cpu.max": "max 100000\n"}), []step{
				{0, files{memory: psi(10_000, 0)}, reading(snapshot.Memory, 0.1, 0, true, "/proc/pressure/memory"), ""},
			}},
		{"the host's where it is wanted", snapshot.Memory, host.Config{Cgroup: host.NoCgroup},
			podFiles(files{memory: psi(0, 0), own + "memory.pressure": psi(0, 0)}), []step{
				{0, files{memory: psi(10_000, 0)}, reading(snapshot.Memory, 0.1, 0, true, "/proc/pressure/memory"), ""},
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.config
			c.Root = t.TempDir()
			tt.before.write(t, c.Root)
			synctest.Test(t, func(t *testing.T) {
				h, err := host.Open(c)
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				for i, step := range tt.steps {
					if i == 0 {
						time.AfterFunc(50*time.Millisecond, func() { step.write.write(t, c.Root) })
					} else {
						time.Sleep(step.after)
						step.write.write(t, c.Root)
					}
					got, err := h.Sources().Pressure(t.Context(), tt.stalled)
					got.Source = strings.TrimPrefix(got.Source, c.Root)
					got.Some, got.Full = math.Round(got.Some*1e9)/1e9, math.Round(got.Full*1e9)/1e9
					if step.err != "" {
						if err == nil || !strings.Contains(err.Error(), step.err) {
							t.Errorf("call %d = %+v, %v; want an error with %q", i, got, err, step.err)
						}
					} else if err != nil || got != step.want {
						t.Errorf("call %d = %+v, %v\nwant %+v", i, got, err, step.want)
					}
				}
			})
		})
	}
}

// Each resource is a source of its own: one that is not there, or no file, holds up none.
func TestPressureSourcesDoNotWaitForEachOther(t *testing.T) {
	root := t.TempDir()
	files{"proc/pressure/memory": psi(0, 0), "proc/pressure/io/directory": ""}.write(t, root)
	if err := unix.Mkfifo(root+"/proc/pressure/cpu", 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		h, err := host.Open(host.Config{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		for _, stalled := range []snapshot.Resource{snapshot.CPU, 0} {
			if got, err := h.Sources().Pressure(t.Context(), stalled); err == nil || !strings.Contains(err.Error(), "not a regular file") {
				t.Errorf("Pressure(%v) = %+v, %v; want an error", stalled, got, err)
			}
		}
		if _, err := h.Sources().Pressure(t.Context(), snapshot.Memory); err != nil {
			t.Error(err)
		}
		for _, c := range h.Costs() {
			want := int64(0)
			if c.Name == snapshot.SignalPressureCPU || c.Name == snapshot.SignalPressureIO {
				want = 1
			}
			if c.Errors != want {
				t.Errorf("cost %+v, want %d errors", c, want)
			}
		}
	})
}
