package host_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

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
		{"a cpuset that tells only what was asked for", before(files{"proc/self/cgroup": "3:cpuset:/s\n2:cpuacct:/\n1:cpu:/\n", "sys/fs/cgroup/cpuset/s/cpuset.cpus": "0\n"}), []cpuStep{
			{0, files{"proc/stat": quarter(10)},
				quotaReading(1, 1, "cpuset.cpus of /s", "/proc/stat of the CPUs in the cpuset"), ""},
		}},
		{"a cpuset that cannot be read, below one that can", before(files{"proc/self/cgroup": "3:cpuset:/s/t\n2:cpuacct:/\n1:cpu:/\n",
			"sys/fs/cgroup/cpuset/s/cpuset.effective_cpus": "0\n", "sys/fs/cgroup/cpuset/s/t/cpuset.effective_cpus": "garbage\n"}), []cpuStep{
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
