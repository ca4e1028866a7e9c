package host_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// files are files by their path below a made-up root; one that is removed takes what is below it along.
type files map[string]string

const removed = "\x00"

func (f files) write(t *testing.T, root string) {
	t.Helper()
	for name, text := range f {
		if text == removed {
			continue
		}
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		// Not renamed into place: a file of the kernel stays the same under its descriptor.
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range f {
		if text != removed {
			continue
		}
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// with returns the files of both.
func (f files) with(more files) files {
	all := files{}
	for _, m := range []files{f, more} {
		for name, text := range m {
			all[name] = text
		}
	}
	return all
}

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

const (
	v2Mount  = "35 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
	v1Mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n" +
		"33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n" +
		"34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
)

func cpuStat(usage, periods, throttled int) string {
	return fmt.Sprintf("usage_usec %d\nuser_usec 1\nsystem_usec 1\nnr_periods %d\nnr_throttled %d\nthrottled_usec 5\n", usage, periods, throttled)
}

// podFiles are a host of 4 CPUs, and a pod of version 2 with a quota of 1.5 CPUs and an app in it.
func podFiles(app files) files {
	return files{
		"proc/stat":                               stat(ticksOf{}, &ticksOf{}, &ticksOf{}, &ticksOf{}, &ticksOf{}),
		"proc/self/cgroup":                        "0::/pods/pod1/app\n",
		"proc/self/mountinfo":                     v2Mount,
		"sys/fs/cgroup/cgroup.controllers":        "cpuset cpu io memory\n",
		"sys/fs/cgroup/cpu.stat":                  cpuStat(0, 0, 0),
		"sys/fs/cgroup/pods/cpu.max":              "max 100000\n",
		"sys/fs/cgroup/pods/cpu.stat":             cpuStat(0, 0, 0),
		"sys/fs/cgroup/pods/pod1/cpu.max":         "150000 100000\n",
		"sys/fs/cgroup/pods/pod1/cpu.stat":        cpuStat(0, 0, 0),
		"sys/fs/cgroup/pods/pod1/app/cpu.max":     "max 100000\n",
		"sys/fs/cgroup/pods/pod1/app/cpu.stat":    cpuStat(0, 0, 0),
		"sys/fs/cgroup/pods/other/cpuset.cpus.x":  "",
		"sys/fs/cgroup/pods/other/cpu.max":        "20000 100000\n",
		"sys/fs/cgroup/pods/pod1/app/cpu.unknown": "",
	}.with(app)
}

// quarter is stat of 4 CPUs of which the first was busy, for n ticks each.
func quarter(n int) string {
	return stat(ticksOf{}, &ticksOf{n, 0, 0, 0}, &ticksOf{0, n, 0, 0}, &ticksOf{0, n, 0, 0}, &ticksOf{0, n, 0, 0})
}

func quotaReading(used, cores float64, limit, source string) snapshot.CPUReading {
	r := hostReading(0.25, 4, 1, 0, 0)
	r.Used, r.Cores, r.Limit, r.Source = used, cores, limit, source
	return r
}

func throttled(r snapshot.CPUReading, share float64) snapshot.CPUReading {
	r.Throttled, r.ThrottledKnown = share, true
	return r
}

func TestCPUOfACgroup(t *testing.T) {
	const (
		pod     = "sys/fs/cgroup/pods/pod1/cpu.stat"
		podMax  = "sys/fs/cgroup/pods/pod1/cpu.max"
		podName = "cpu.max of /pods/pod1"
		podUse  = "cpu.stat of /pods/pod1"
		app     = "sys/fs/cgroup/pods/pod1/app/cpu.stat"
		appMax  = "sys/fs/cgroup/pods/pod1/app/cpu.max"
	)
	tests := []struct {
		name   string
		config host.Config
		before files
		steps  []cpuStep
	}{
		{"the quota of an ancestor", host.Config{}, podFiles(nil), []cpuStep{
			{0, files{"proc/stat": quarter(10), pod: cpuStat(75_000, 1, 0)},
				throttled(quotaReading(0.5, 1.5, podName, podUse), 0), ""},
			{200 * time.Millisecond, files{"proc/stat": quarter(30), pod: cpuStat(75_000+270_000, 3, 1)},
				throttled(quotaReading(0.9, 1.5, podName, podUse), 0), ""},
			{time.Second, files{"proc/stat": quarter(130), pod: cpuStat(345_000+1_500_000, 13, 8)},
				throttled(quotaReading(1, 1.5, podName, podUse), 8./12), ""},
		}},
		{"a burst over the quota", host.Config{}, podFiles(nil), []cpuStep{
			{0, files{"proc/stat": quarter(10), pod: cpuStat(200_000, 1, 0)},
				throttled(quotaReading(1, 1.5, podName, podUse), 0), ""},
		}},
		{"the host binds", host.Config{}, podFiles(nil), []cpuStep{
			{0, files{"proc/stat": quarter(10), pod: cpuStat(15_000, 1, 0)},
				throttled(quotaReading(0.25, 1.5, podName, "/proc/stat"), 0), ""},
		}},
		{"the least capacity is not the fullest", host.Config{}, podFiles(files{appMax: "50000 100000\n"}), []cpuStep{
			{0, files{"proc/stat": quarter(10), pod: cpuStat(135_000, 1, 1), app: cpuStat(20_000, 2, 0)},
				throttled(quotaReading(0.9, 0.5, "cpu.max of /pods/pod1/app", podUse), 1), ""},
		}},
		{"throttled most by its own quota", host.Config{}, podFiles(files{appMax: "50000 100000\n"}), []cpuStep{
			{0, files{"proc/stat": quarter(10), pod: cpuStat(135_000, 4, 1), app: cpuStat(20_000, 4, 3)},
				throttled(quotaReading(0.9, 0.5, "cpu.max of /pods/pod1/app", podUse), 0.75), ""},
		}},
		{"the times of the host stand still", host.Config{}, podFiles(nil), []cpuStep{
			{0, files{pod: cpuStat(75_000, 1, 0)}, snapshot.CPUReading{}, "no time passed"},
		}},
		{"a quota that changes and goes", host.Config{}, podFiles(nil), []cpuStep{
			{0, files{"proc/stat": quarter(10), pod: cpuStat(75_000, 1, 0)},
				throttled(quotaReading(0.5, 1.5, podName, podUse), 0), ""},
			{2 * time.Second, files{"proc/stat": quarter(110), pod: cpuStat(75_000+1_500_000, 1, 0), podMax: "100000 100000\n"},
				throttled(quotaReading(0.75, 1, podName, podUse), 0), ""},
			{2 * time.Second, files{"proc/stat": quarter(210), podMax: "max 100000\n"},
				quotaReading(0.25, 4, "CPUs of the host", "/proc/stat"), ""},
		}},
		{"usage that goes back is none", host.Config{}, podFiles(files{pod: cpuStat(9_000_000, 50, 50)}), []cpuStep{
			{0, files{"proc/stat": quarter(10), pod: cpuStat(75_000, 1, 0)},
				throttled(quotaReading(0.25, 1.5, podName, "/proc/stat"), 0), ""},
		}},
		{"a call that follows at once has the same figures", host.Config{}, podFiles(nil), []cpuStep{
			{0, files{"proc/stat": quarter(10), pod: cpuStat(75_000, 1, 0)},
				throttled(quotaReading(0.5, 1.5, podName, podUse), 0), ""},
			{time.Millisecond, nil, throttled(quotaReading(0.5, 1.5, podName, podUse), 0), ""},
		}},
		{"another cgroup by its path", host.Config{Cgroup: "/pods/other"},
			podFiles(files{"sys/fs/cgroup/pods/other/cpu.stat": cpuStat(0, 0, 0)}), []cpuStep{
				{0, files{"proc/stat": quarter(10), "sys/fs/cgroup/pods/other/cpu.stat": cpuStat(10_000, 1, 1)},
					throttled(quotaReading(0.5, 0.2, "cpu.max of /pods/other", "cpu.stat of /pods/other"), 1), ""},
			}},
		{"another cgroup by its path, whatever this process may run on", host.Config{Cgroup: "/pods"},
			podFiles(files{"proc/self/status": "Cpus_allowed_list:\t0\n"}), []cpuStep{
				{0, files{"proc/stat": quarter(10)}, quotaReading(0.25, 4, "CPUs of the host", "/proc/stat"), ""},
			}},
		{"no cgroup wanted", host.Config{Cgroup: host.NoCgroup}, podFiles(nil), []cpuStep{
			{0, files{"proc/stat": quarter(10), pod: cpuStat(150_000, 1, 1)},
				quotaReading(0.25, 4, "CPUs of the host", "/proc/stat"), ""},
		}},
		{"a cgroup that is not there", host.Config{Cgroup: "/gone"}, podFiles(nil), []cpuStep{
			{0, nil, snapshot.CPUReading{}, "/gone"},
		}},
		{"the cpuset of the cgroup", host.Config{Scope: snapshot.ScopeHost},
			podFiles(files{"sys/fs/cgroup/pods/pod1/app/cpuset.cpus.effective": "0-1\n", podMax: "max 100000\n"}), []cpuStep{
				{0, files{"proc/stat": quarter(10)},
					quotaReading(0.5, 2, "cpuset.cpus.effective of /pods/pod1/app", "/proc/stat of the CPUs in the cpuset"), ""},
			}},
		{"a cpuset whose CPUs LXCFS counts from 0", host.Config{Scope: snapshot.ScopeHost},
			podFiles(files{"sys/fs/cgroup/pods/pod1/app/cpuset.cpus.effective": "2-5\n", podMax: "max 100000\n"}), []cpuStep{
				{0, files{"proc/stat": quarter(10)}, quotaReading(0.25, 4, "CPUs of the host", "/proc/stat"), ""},
			}},
		{"the affinity of the process", host.Config{},
			podFiles(files{"proc/self/status": "Name:\tx\nCpus_allowed:\tf\nCpus_allowed_list:\t1-2,9\n", podMax: "max 100000\n"}), []cpuStep{
				{0, files{"proc/stat": quarter(10)},
					quotaReading(0, 2, "cpuset", "/proc/stat of the CPUs in the cpuset"), ""},
				{29 * time.Second, files{"proc/stat": quarter(2910), "proc/self/status": "Cpus_allowed_list:\t0\n"},
					quotaReading(0, 2, "cpuset", "/proc/stat of the CPUs in the cpuset"), ""},
				{time.Second, files{"proc/stat": quarter(3010)},
					quotaReading(1, 1, "cpuset", "/proc/stat of the CPUs in the cpuset"), ""},
			}},
		{"an affinity to CPUs that are offline is out of date", host.Config{},
			podFiles(files{"proc/self/status": "Cpus_allowed_list:\t9\n", podMax: "max 100000\n"}), []cpuStep{
				{0, files{"proc/stat": quarter(10)}, quotaReading(0.25, 4, "CPUs of the host", "/proc/stat"), ""},
			}},
		{"no /proc/stat, and a quota", host.Config{}, podFiles(files{"proc/stat": removed}), []cpuStep{
			{0, files{pod: cpuStat(75_000, 1, 0)},
				throttled(snapshot.CPUReading{Used: 0.5, Cores: 1.5, Limit: podName, Source: podUse}, 0), ""},
		}},
		{"a quota whose use is not told", host.Config{}, podFiles(files{pod: "nr_periods 0\nnr_throttled 0\n"}), []cpuStep{
			{0, nil, snapshot.CPUReading{}, "no usage_usec"},
		}},
		{"a malformed quota", host.Config{}, podFiles(files{podMax: "1\n"}), []cpuStep{
			{0, nil, snapshot.CPUReading{}, "cpu.max"},
		}},
		{"the process moves, and is found after 30 s", host.Config{}, podFiles(nil), []cpuStep{
			{0, files{"proc/stat": quarter(10), pod: cpuStat(75_000, 1, 0)},
				throttled(quotaReading(0.5, 1.5, podName, podUse), 0), ""},
			{30 * time.Second, files{"proc/stat": quarter(3010), "proc/self/cgroup": "0::/pods\n"},
				quotaReading(0.25, 4, "CPUs of the host", "/proc/stat"), ""},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { runCPU(t, tt.config, tt.before, tt.steps) })
	}
}

func TestCPUOfACgroupV1(t *testing.T) {
	// cpu and cpuacct are mounted apart, and the process is in /a/b of both.
	before := func(more files) files {
		return files{
			"proc/stat":           stat(ticksOf{}, &ticksOf{}, &ticksOf{}, &ticksOf{}, &ticksOf{}),
			"proc/self/cgroup":    "3:cpuset:/\n2:cpuacct:/a/b\n1:cpu:/a/b\n0::/\n",
			"proc/self/mountinfo": v1Mounts,
			"sys/fs/cgroup/cpuset/cpuset.effective_cpus": "0-3\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":         "-1\n",
			"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us":       "100000\n",
			"sys/fs/cgroup/cpu/a/cpu.cfs_period_us":      "50000\n",
			"sys/fs/cgroup/cpu/a/cpu.stat":               "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
			"sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us":     "-1\n",
			"sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us":    "100000\n",
			"sys/fs/cgroup/cpuacct/cpuacct.usage":        "0\n",
			"sys/fs/cgroup/cpuacct/a/cpuacct.usage":      "0\n",
			"sys/fs/cgroup/cpuacct/a/b/cpuacct.usage":    "0\n",
		}.with(more)
	}
	const limit, use = "cpu.cfs_quota_us of /a", "cpuacct.usage of /a"
	tests := []struct {
		name   string
		before files
		steps  []cpuStep
	}{
		{"a quota of an ancestor", before(nil), []cpuStep{
			{0, files{"proc/stat": quarter(10), "sys/fs/cgroup/cpuacct/a/cpuacct.usage": "100000000\n",
				"sys/fs/cgroup/cpu/a/cpu.stat": "nr_periods 2\nnr_throttled 1\nthrottled_time 9\n"},
				throttled(quotaReading(0.5, 2, limit, use), 0.5), ""},
			{100 * time.Millisecond, files{"proc/stat": quarter(20), "sys/fs/cgroup/cpuacct/a/cpuacct.usage": "290000000\n",
				"sys/fs/cgroup/cpu/a/cpu.stat": "nr_periods 4\nnr_throttled 1\nthrottled_time 9\n"},
				throttled(quotaReading(0.95, 2, limit, use), 0.5), ""}, // as it was: over a second
		}},
		{"mounted together", before(files{
			"proc/self/mountinfo":                   strings.Replace(v1Mounts, "rw,cpu\n", "rw,cpu,cpuacct\n", 1),
			"sys/fs/cgroup/cpu/a/cpuacct.usage":     "0\n",
			"sys/fs/cgroup/cpuacct/a/cpuacct.usage": removed,
		}), []cpuStep{
			{0, files{"proc/stat": quarter(10), "sys/fs/cgroup/cpu/a/cpuacct.usage": "100000000\n"},
				throttled(quotaReading(0.5, 2, limit, use), 0), ""},
		}},
		{"a container that sees its own cgroup only", before(files{
			"proc/self/cgroup":                           "2:cpuacct:/docker/8a1f\n1:cpu:/docker/8a1f\n",
			"proc/self/mountinfo":                        strings.ReplaceAll(v1Mounts, " / /sys", " /docker/8a1f /sys"),
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":         "100000\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us":        "100000\n",
			"sys/fs/cgroup/cpu/cpu.stat":                 "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
			"sys/fs/cgroup/cpuset/cpuset.effective_cpus": removed,
		}), []cpuStep{
			{0, files{"proc/stat": quarter(10), "sys/fs/cgroup/cpuacct/cpuacct.usage": "90000000\n"},
				throttled(quotaReading(0.9, 1, "cpu.cfs_quota_us of /docker/8a1f", "cpuacct.usage of /docker/8a1f"), 0), ""},
		}},
		{"a quota whose use is not counted", before(files{"sys/fs/cgroup/cpuacct/a": removed, "proc/self/cgroup": "2:cpuacct:/\n1:cpu:/a/b\n"}), []cpuStep{
			{0, nil, snapshot.CPUReading{}, "cpu.cfs_quota_us of /a is 2 CPUs and what it uses is not counted: controller cpuacct"},
		}},
		{"no quota", before(files{"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n"}), []cpuStep{
			{0, files{"proc/stat": quarter(10)}, quotaReading(0.25, 4, "CPUs of the host", "/proc/stat"), ""},
		}},
		{"a cpuset", before(files{"proc/self/cgroup": "3:cpuset:/s\n2:cpuacct:/\n1:cpu:/\n", "sys/fs/cgroup/cpuset/s/cpuset.effective_cpus": "0\n"}), []cpuStep{
			{0, files{"proc/stat": quarter(10)},
				quotaReading(1, 1, "cpuset.effective_cpus of /s", "/proc/stat of the CPUs in the cpuset"), ""},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { runCPU(t, host.Config{Scope: snapshot.ScopeHost}, tt.before, tt.steps) })
	}
}

// What was used while there was no quota is not of the quota that is set after it.
func TestCPUQuotaSetAnew(t *testing.T) {
	const pod, podMax = "sys/fs/cgroup/pods/pod1/cpu.stat", "sys/fs/cgroup/pods/pod1/cpu.max"
	root := t.TempDir()
	podFiles(nil).write(t, root)
	synctest.Test(t, func(t *testing.T) {
		h, err := host.Open(host.Config{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		read := func(more files) snapshot.CPUReading {
			time.AfterFunc(50*time.Millisecond, func() { more.write(t, root) })
			got, err := h.Sources().CPU(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		read(files{"proc/stat": quarter(10)})
		time.Sleep(2 * time.Second)
		files{"proc/stat": quarter(110), podMax: "max 100000\n"}.write(t, root)
		read(nil)
		time.Sleep(10 * time.Second)
		files{"proc/stat": quarter(1110), podMax: "150000 100000\n", pod: cpuStat(40_000_000, 1, 0)}.write(t, root)
		got := read(files{pod: cpuStat(40_000_000+75_000, 2, 0)})
		if got.Used != 0.5 || got.Cores != 1.5 {
			t.Errorf("Used = %v of %v, want 0.5 of 1.5", got.Used, got.Cores)
		}
	})
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
