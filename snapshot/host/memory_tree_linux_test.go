package host_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// openHost opens what the configuration says and closes it after the test.
func openHost(t *testing.T, c host.Config) *host.Host {
	t.Helper()
	h, err := host.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// tree returns the whole path of a tree of kernel files.
func tree(t *testing.T, name string) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("testdata", "trees", name))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestMemoryOfTrees(t *testing.T) {
	const (
		hostText  = "memory of the host"
		hostUse   = "host working set: total without available memory"
		docker    = "/docker/3f1c9e7a5b2d4860a1b3c5d7e9f0123456789abcdef0123456789abcdef01234"
		pod       = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7c0e4a1d.slice"
		container = pod + "/cri-containerd-5f2b9c.scope"
	)
	use := func(path string) string {
		return "working set of cgroup " + path + ": usage without inactive page cache"
	}
	tests := []struct {
		tree, cgroup string
		want         snapshot.MemoryReading // of which HostKnown is added
		source       string
	}{
		{"v1-hybrid", "", snapshot.MemoryReading{
			Used: 46919680 - 12582912, Total: 64 * mib, Limit: "memory.limit_in_bytes of /headroom", SwapKnown: true,
			HostUsed: (24684096 - 24108536) * kib, HostTotal: 24684096 * kib,
			Definition: use("/headroom"),
		}, "cgroup v1 /headroom/worker"},
		{"v1-hybrid", "host", snapshot.MemoryReading{
			Used: (24684096 - 24108536) * kib, Total: 24684096 * kib, Limit: hostText, SwapKnown: true,
			HostUsed: (24684096 - 24108536) * kib, HostTotal: 24684096 * kib,
			Definition: hostUse,
		}, "meminfo"},
		{"v1-docker", "", snapshot.MemoryReading{
			Used: 46919680 - 12582912, Total: 128 * mib, Limit: "memory.limit_in_bytes of " + docker, SwapKnown: true,
			HostUsed: (24684096 - 24095616) * kib, HostTotal: 24684096 * kib,
			Definition: use(docker),
		}, "cgroup v1 " + docker},
		{"v2-host", "", snapshot.MemoryReading{
			Used: (16315964 - 12010220) * kib, Total: 16315964 * kib, Limit: hostText,
			SwapUsed: (2097148 - 1572860) * kib, SwapTotal: 2097148 * kib, SwapKnown: true,
			HostUsed: (16315964 - 12010220) * kib, HostTotal: 16315964 * kib,
			Definition: hostUse,
		}, "cgroup v2 /user.slice/user-1000.slice/session-3.scope"},
		{"v2-kubernetes", "", snapshot.MemoryReading{
			Used: 440 * mib, Total: 512 * mib, Limit: "memory.max of " + pod, SwapKnown: true,
			HostUsed: (16315964 - 12010220) * kib, HostTotal: 16315964 * kib,
			Definition: use(pod),
		}, "cgroup v2 " + container},
		{"v2-kubernetes", "/kubepods.slice", snapshot.MemoryReading{
			Used: 4000 * mib, Total: 15 * gib, Limit: "memory.max of /kubepods.slice", SwapKnown: true,
			HostUsed: (16315964 - 12010220) * kib, HostTotal: 16315964 * kib,
			Definition: use("/kubepods.slice"),
		}, "cgroup v2 /kubepods.slice"},
		{"v2-systemd", "", snapshot.MemoryReading{
			Used: 340 * mib, Total: 800 * mib, Limit: "memory.high of /system.slice/headroom.service",
			SwapUsed: 7 * mib, SwapTotal: 256 * mib, SwapKnown: true,
			HostUsed: (16315964 - 12010220) * kib, HostTotal: 16315964 * kib,
			Definition: use("/system.slice/headroom.service"),
		}, "cgroup v2 /system.slice/headroom.service"},
		{"hidepid", "", snapshot.MemoryReading{
			Used: 110 * mib, Total: 256 * mib, Limit: "memory.max of /system.slice/headroom.service", SwapKnown: true,
			HostUsed: (2015964 - 1210220) * kib, HostTotal: 2015964 * kib,
			Definition: use("/system.slice/headroom.service"),
		}, "cgroup v2 /system.slice/headroom.service"},
		{"none", "", snapshot.MemoryReading{
			Used: (2015964 - 1210220) * kib, Total: 2015964 * kib, Limit: hostText, SwapKnown: true,
			HostUsed: (2015964 - 1210220) * kib, HostTotal: 2015964 * kib,
			Definition: hostUse,
		}, "no cgroup to see: open "},
	}
	for _, tt := range tests {
		t.Run(tt.tree+tt.cgroup, func(t *testing.T) {
			h := openHost(t, host.Config{Scope: snapshot.ScopeHost, Root: tree(t, tt.tree), Cgroup: tt.cgroup})
			got, err := h.Sources().Memory(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got.Source, tt.source) {
				t.Errorf("Source = %q, want %q in it", got.Source, tt.source)
			}
			want := tt.want
			want.HostKnown, want.Source = true, got.Source
			want.Tightest = snapshot.MemoryLevel{Used: want.Used, Total: want.Total, Limit: want.Limit}
			if got != want {
				t.Errorf("Memory = %+v\nwant %+v", got, want)
			}
		})
	}
}

// A process tree is judged against the least limit, though another may have less left.
func TestProcessMemoryUnderALimit(t *testing.T) {
	h := openHost(t, host.Config{Scope: snapshot.ScopeProcess, Root: tree(t, "hidepid")})
	got, err := h.Sources().Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := snapshot.MemoryReading{
		Used: 339 * kib, Total: 256 * mib, Limit: "memory.max of /system.slice/headroom.service",
		Tightest:  snapshot.MemoryLevel{Used: 110 * mib, Total: 256 * mib, Limit: "memory.max of /system.slice/headroom.service"},
		SwapKnown: true, HostUsed: (2015964 - 1210220) * kib, HostTotal: 2015964 * kib, HostKnown: true,
		Definition: "PSS of 1 process", Source: "/proc stat and smaps_rollup",
	}
	if got != want {
		t.Errorf("Memory = %+v\nwant %+v", got, want)
	}
}

// A cgroup is made of its files, by name; no text removes one.
type cgroup map[string]string

func v2(current, inactive int64, files cgroup) cgroup {
	g := cgroup{
		"memory.max": "max\n", "memory.high": "max\n", "memory.swap.max": "max\n", "memory.swap.current": "0\n",
		"memory.current": amount(current), "memory.stat": "anon 1\ninactive_file " + amount(inactive),
	}
	for name, text := range files {
		g[name] = text
	}
	return g
}

func v1(usage, inactive int64, files cgroup) cgroup {
	const none = "9223372036854771712\n"
	g := cgroup{
		"memory.limit_in_bytes": none, "memory.memsw.limit_in_bytes": none, "memory.use_hierarchy": "1\n",
		"memory.usage_in_bytes": amount(usage), "memory.memsw.usage_in_bytes": amount(usage),
		"memory.stat": v1Stat(inactive, 0),
	}
	for name, text := range files {
		g[name] = text
	}
	return g
}

func v1Stat(inactive, swap int64) string {
	return "inactive_file 0\nhierarchical_memory_limit 9223372036854771712\nhierarchical_memsw_limit 9223372036854771712\n" +
		"total_swap " + amount(swap) + "total_inactive_file " + amount(inactive)
}

func amount(n int64) string { return strconv.FormatInt(n, 10) + "\n" }

// A fakeRoot is a host that is written as a test goes on.
type fakeRoot struct {
	t   *testing.T
	dir string
}

// newRoot makes a host of 1 GiB, half of it available, whose process is in the cgroup. Half of its swap is in use.
func newRoot(t *testing.T, version int, own string, swap int64) fakeRoot {
	r := fakeRoot{t, t.TempDir()}
	r.write("proc/meminfo", "MemTotal: 1048576 kB\nMemFree: 1 kB\nMemAvailable: 524288 kB\nSwapTotal: "+
		strconv.FormatInt(swap/kib, 10)+" kB\nSwapFree: "+strconv.FormatInt(swap/2/kib, 10)+" kB\n")
	if version == 2 {
		r.write("proc/self/mountinfo", "31 23 0:27 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n")
		r.write("sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
	} else {
		r.write("proc/self/mountinfo", "31 23 0:27 / /sys/fs/cgroup rw - cgroup cgroup rw,memory\n")
		r.write("sys/fs/cgroup/cgroup.sane_behavior", "0\n")
	}
	r.enter(version, own)
	return r
}

func (r fakeRoot) enter(version int, own string) {
	r.write("proc/self/cgroup", map[int]string{1: "4:memory:", 2: "0::"}[version]+own+"\n")
}

func (r fakeRoot) write(name, text string) {
	r.t.Helper()
	name = filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r fakeRoot) group(path string, files cgroup) {
	r.t.Helper()
	for name, text := range files {
		name = filepath.Join("sys/fs/cgroup", path, name)
		r.write(name, text)
		if text == "" {
			if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func TestMemoryLimits(t *testing.T) {
	type level struct { // as snapshot.MemoryLevel
		Used, Total int64
		Limit       string
	}
	hostLevel := level{512 * mib, gib, "memory of the host"}
	type swap struct {
		used, total int64
		known       bool
	}
	tests := []struct {
		name    string
		version int
		swap    int64 // of the host
		groups  map[string]cgroup
		want    level // of the process in /a/b
		swapped swap
		err     string // in the error; a want is not looked at
	}{
		{"nothing is limited, so nothing is read", 2, 0, map[string]cgroup{
			"/a": {"memory.max": "max\n"}, "/a/b": {"memory.max": "max\n", "memory.high": "max\n"},
		}, hostLevel, swap{0, 0, true}, ""},
		{"the controller is not switched on for the leaf", 2, 0, map[string]cgroup{
			"/a": v2(30*mib, 0, cgroup{"memory.max": amount(100 * mib)}), "/a/b": {"cgroup.procs": "1\n"},
		}, level{30 * mib, 100 * mib, "memory.max of /a"}, swap{0, 0, true}, ""},
		{"high under max", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, nil), "/a/b": v2(30*mib, 10*mib, cgroup{"memory.max": amount(100 * mib), "memory.high": amount(60 * mib)}),
		}, level{20 * mib, 60 * mib, "memory.high of /a/b"}, swap{0, 0, true}, ""},
		{"high over max", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, nil), "/a/b": v2(30*mib, 10*mib, cgroup{"memory.max": amount(50 * mib), "memory.high": amount(60 * mib)}),
		}, level{20 * mib, 50 * mib, "memory.max of /a/b"}, swap{0, 0, true}, ""},
		{"over high", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, nil), "/a/b": v2(80*mib, 10*mib, cgroup{"memory.high": amount(60 * mib)}),
		}, level{70 * mib, 60 * mib, "memory.high of /a/b"}, swap{0, 0, true}, ""},
		{"a parent that its other children filled", 2, 0, map[string]cgroup{
			"/a":   v2(290*mib, 5*mib, cgroup{"memory.max": amount(300 * mib)}),
			"/a/b": v2(20*mib, 0, cgroup{"memory.max": amount(100 * mib), "memory.stat": "garbage\n"}), // not looked at
		}, level{285 * mib, 300 * mib, "memory.max of /a"}, swap{0, 0, true}, ""},
		{"a parent that seems full of page cache only", 2, 0, map[string]cgroup{
			"/a":   v2(300*mib, 270*mib, cgroup{"memory.max": amount(300 * mib)}),
			"/a/b": v2(20*mib, 0, cgroup{"memory.max": amount(100 * mib)}),
		}, level{20 * mib, 100 * mib, "memory.max of /a/b"}, swap{0, 0, true}, ""},
		{"an ancestor that has more left whatever it caches is not looked at", 2, 0, map[string]cgroup{
			"/a":   v2(200*mib, 0, cgroup{"memory.max": amount(300 * mib), "memory.stat": "garbage\n"}),
			"/a/b": v2(20*mib, 0, cgroup{"memory.max": amount(100 * mib)}),
		}, level{20 * mib, 100 * mib, "memory.max of /a/b"}, swap{0, 0, true}, ""},
		{"the same limit as an ancestor's is not looked at", 2, 0, map[string]cgroup{
			"/a":   v2(80*mib, 10*mib, cgroup{"memory.max": amount(100 * mib)}),
			"/a/b": v2(0, 0, cgroup{"memory.max": amount(100 * mib), "memory.current": "garbage\n"}),
		}, level{70 * mib, 100 * mib, "memory.max of /a"}, swap{0, 0, true}, ""},
		{"the host has less left", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, nil), "/a/b": v2(10*mib, 0, cgroup{"memory.max": amount(700 * mib)}),
		}, hostLevel, swap{0, 0, true}, ""},
		{"a limit over what the host has", 2, 0, map[string]cgroup{
			"/a": {"memory.max": "99999999999999\n"}, "/a/b": {"memory.max": "18446744073709551615\n"},
		}, hostLevel, swap{0, 0, true}, ""},
		{"more inactive page cache than use", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, nil), "/a/b": v2(10*mib, 20*mib, cgroup{"memory.max": amount(70 * mib)}),
		}, level{0, 70 * mib, "memory.max of /a/b"}, swap{0, 0, true}, ""},
		{"a limit of nothing", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, nil), "/a/b": v2(10*mib, 0, cgroup{"memory.max": "0\n"}),
		}, level{10 * mib, 1, "memory.max of /a/b"}, swap{0, 0, true}, ""},
		{"swap that an ancestor limits", 2, 200 * mib, map[string]cgroup{
			"/a":   v2(50*mib, 0, cgroup{"memory.swap.max": amount(40 * mib)}),
			"/a/b": v2(10*mib, 0, cgroup{"memory.max": amount(70 * mib), "memory.swap.max": amount(90 * mib), "memory.swap.current": amount(3 * mib)}),
		}, level{10 * mib, 70 * mib, "memory.max of /a/b"}, swap{3 * mib, 40 * mib, true}, ""},
		{"swap without a limit", 2, 200 * mib, map[string]cgroup{
			"/a":   v2(50*mib, 0, nil),
			"/a/b": v2(10*mib, 0, cgroup{"memory.max": amount(70 * mib), "memory.swap.current": amount(3 * mib)}),
		}, level{10 * mib, 70 * mib, "memory.max of /a/b"}, swap{3 * mib, 200 * mib, true}, ""},
		{"swap is not counted", 2, 200 * mib, map[string]cgroup{
			"/a":   v2(50*mib, 0, nil),
			"/a/b": v2(10*mib, 0, cgroup{"memory.max": amount(70 * mib), "memory.swap.max": "", "memory.swap.current": ""}),
		}, level{10 * mib, 70 * mib, "memory.max of /a/b"}, swap{}, ""},

		{"v1: the parent's limit", 1, 0, map[string]cgroup{
			"/a": v1(40*mib, 15*mib, cgroup{"memory.limit_in_bytes": amount(100 * mib)}), "/a/b": v1(20*mib, 5*mib, nil),
		}, level{25 * mib, 100 * mib, "memory.limit_in_bytes of /a"}, swap{0, 0, true}, ""},
		{"v1: a parent that does not count its children", 1, 0, map[string]cgroup{
			"/a":   v1(40*mib, 15*mib, cgroup{"memory.limit_in_bytes": amount(50 * mib), "memory.use_hierarchy": "0\n"}),
			"/a/b": v1(20*mib, 5*mib, cgroup{"memory.limit_in_bytes": amount(100 * mib)}),
		}, level{15 * mib, 100 * mib, "memory.limit_in_bytes of /a/b"}, swap{0, 0, true}, ""},
		{"v1: memory and swap together", 1, 200 * mib, map[string]cgroup{
			"/a": v1(0, 0, nil), "/a/b": v1(60*mib, 10*mib, cgroup{"memory.limit_in_bytes": amount(100 * mib),
				"memory.memsw.limit_in_bytes": amount(120 * mib), "memory.memsw.usage_in_bytes": amount(110 * mib),
				"memory.stat": v1Stat(10*mib, 50*mib)}),
		}, level{100 * mib, 120 * mib, "memory.memsw.limit_in_bytes of /a/b (memory and swap)"}, swap{50 * mib, 20 * mib, true}, ""},
		{"v1: more swap than is in use anywhere is no limit, and not looked at", 1, 200 * mib, map[string]cgroup{
			"/a": v1(0, 0, nil), "/a/b": v1(60*mib, 10*mib, cgroup{"memory.limit_in_bytes": amount(100 * mib),
				"memory.memsw.limit_in_bytes": amount(200 * mib), "memory.memsw.usage_in_bytes": "garbage\n"}),
		}, level{50 * mib, 100 * mib, "memory.limit_in_bytes of /a/b"}, swap{0, 100 * mib, true}, ""},
		{"v1: a limit on both that is that on memory, which is not looked at", 1, 200 * mib, map[string]cgroup{
			"/a": v1(0, 0, nil), "/a/b": v1(60*mib, 10*mib, cgroup{"memory.limit_in_bytes": amount(100 * mib),
				"memory.memsw.limit_in_bytes": amount(100 * mib), "memory.memsw.usage_in_bytes": amount(70 * mib),
				"memory.usage_in_bytes": "garbage\n", "memory.stat": v1Stat(10*mib, 10*mib)}),
		}, level{60 * mib, 100 * mib, "memory.memsw.limit_in_bytes of /a/b (memory and swap)"}, swap{10 * mib, 0, true}, ""},
		{"v1: a limit on both only", 1, 200 * mib, map[string]cgroup{
			"/a": v1(0, 0, nil), "/a/b": v1(60*mib, 10*mib, cgroup{
				"memory.memsw.limit_in_bytes": amount(120 * mib), "memory.memsw.usage_in_bytes": amount(70 * mib),
				"memory.stat": v1Stat(10*mib, 10*mib)}),
		}, level{60 * mib, 120 * mib, "memory.memsw.limit_in_bytes of /a/b (memory and swap)"}, swap{10 * mib, 120 * mib, true}, ""},
		{"v1: a host without swap has no limit on it", 1, 0, map[string]cgroup{
			"/a": v1(0, 0, nil), "/a/b": v1(60*mib, 10*mib, cgroup{"memory.limit_in_bytes": amount(100 * mib),
				"memory.memsw.limit_in_bytes": amount(100 * mib), "memory.memsw.usage_in_bytes": "garbage\n"}),
		}, level{50 * mib, 100 * mib, "memory.limit_in_bytes of /a/b"}, swap{0, 0, true}, ""},
		{"v1: swap is not counted", 1, 200 * mib, map[string]cgroup{
			"/a": v1(0, 0, nil), "/a/b": v1(60*mib, 10*mib, cgroup{"memory.limit_in_bytes": amount(100 * mib),
				"memory.memsw.limit_in_bytes": "", "memory.memsw.usage_in_bytes": "",
				"memory.stat": "hierarchical_memory_limit 104857600\ntotal_inactive_file 10485760\n"}),
		}, level{50 * mib, 100 * mib, "memory.limit_in_bytes of /a/b"}, swap{}, ""},
		{"v1: no limits on 32 bits and on Linux 3.16", 1, 0, map[string]cgroup{
			"/a": v1(0, 0, cgroup{"memory.limit_in_bytes": "18446744073709551615\n"}), "/a/b": v1(0, 0, cgroup{"memory.limit_in_bytes": "8796093018112\n"}),
		}, hostLevel, swap{0, 0, true}, ""},

		{"a limit and no usage", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, cgroup{"memory.max": amount(100 * mib), "memory.current": ""}), "/a/b": v2(0, 0, nil),
		}, level{}, swap{}, "a/memory.current: no such file"},
		{"a limit and no memory.stat", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, cgroup{"memory.max": amount(100 * mib), "memory.stat": ""}), "/a/b": v2(0, 0, nil),
		}, level{}, swap{}, "a/memory.stat: no such file"},
		{"a memory.stat without what counts", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, cgroup{"memory.max": amount(100 * mib), "memory.stat": "anon 5\n"}), "/a/b": v2(0, 0, nil),
		}, level{}, swap{}, "a/memory.stat: no line inactive_file"},
		{"a limit that is no number", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, nil), "/a/b": v2(0, 0, cgroup{"memory.max": "lots\n"}),
		}, level{}, swap{}, `a/b/memory.max: "lots" is no limit`},
		{"a limit below zero", 1, 0, map[string]cgroup{
			"/a": v1(0, 0, nil), "/a/b": v1(0, 0, cgroup{"memory.limit_in_bytes": "-1\n"}),
		}, level{}, swap{}, `a/b/memory.limit_in_bytes: "-1" is no limit`},
		{"a limit of more than 64 bits", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, cgroup{"memory.high": "18446744073709551616\n"}), "/a/b": v2(0, 0, nil),
		}, level{}, swap{}, `a/memory.high: "18446744073709551616" is no limit`},
		{"a usage that is no number", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, cgroup{"memory.max": amount(100 * mib), "memory.current": "5 6\n"}), "/a/b": v2(0, 0, nil),
		}, level{}, swap{}, `a/memory.current: "5 6" is no amount`},
		{"a usage that is empty", 2, 0, map[string]cgroup{
			"/a": v2(0, 0, cgroup{"memory.max": amount(100 * mib), "memory.current": "\n"}), "/a/b": v2(0, 0, nil),
		}, level{}, swap{}, `a/memory.current: "" is no amount`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoot(t, tt.version, "/a/b", tt.swap)
			for path, files := range tt.groups {
				r.group(path, files)
			}
			got, err := openHost(t, host.Config{Scope: snapshot.ScopeHost, Root: r.dir}).Sources().Memory(t.Context())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("Memory = %+v, %v; want an error with %q", got, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if level(got.Tightest) != tt.want || got.Used != tt.want.Used || got.Total != tt.want.Total || got.Limit != tt.want.Limit {
				t.Errorf("Memory = %+v\nwant %+v", got, tt.want)
			}
			if s := (swap{got.SwapUsed, got.SwapTotal, got.SwapKnown}); s != tt.swapped {
				t.Errorf("swap = %+v, want %+v", s, tt.swapped)
			}
		})
	}
}

// A limit above what a container's mount shows is told by the memory.stat of version 1: of the topmost cgroup that
// is shown, whose use counts against it.
func TestMemoryLimitOfHiddenAncestors(t *testing.T) {
	stat := func(limit int64) string {
		return "hierarchical_memory_limit " + amount(limit) + "total_inactive_file " + amount(10*mib)
	}
	tests := []struct {
		name, own string
		groups    map[string]cgroup
		want      snapshot.MemoryLevel
	}{
		{"the container's own cgroup", "/pod/c", map[string]cgroup{
			"/": v1(40*mib, 0, cgroup{"memory.stat": stat(100 * mib)}),
		}, snapshot.MemoryLevel{Used: 30 * mib, Total: 100 * mib, Limit: "hierarchical_memory_limit of /pod/c"}},
		{"one within it", "/pod/c/a", map[string]cgroup{
			"/":  v1(90*mib, 0, cgroup{"memory.stat": stat(100 * mib)}),
			"/a": v1(15*mib, 0, cgroup{"memory.stat": stat(100 * mib)}),
		}, snapshot.MemoryLevel{Used: 80 * mib, Total: 100 * mib, Limit: "hierarchical_memory_limit of /pod/c"}},
		{"one within it with a lower limit, which is not that of what is beside it", "/pod/c/a", map[string]cgroup{
			"/":  v1(60*mib, 0, cgroup{"memory.stat": stat(100 * mib)}),
			"/a": v1(15*mib, 0, cgroup{"memory.stat": stat(32 * mib), "memory.limit_in_bytes": amount(32 * mib)}),
		}, snapshot.MemoryLevel{Used: 5 * mib, Total: 32 * mib, Limit: "memory.limit_in_bytes of /pod/c/a"}},
		{"one within it, of which alone the kernel tells", "/pod/c/a", map[string]cgroup{
			"/a": v1(40*mib, 0, cgroup{"memory.stat": stat(100 * mib)}),
		}, snapshot.MemoryLevel{Used: 30 * mib, Total: 100 * mib, Limit: "hierarchical_memory_limit of /pod/c/a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoot(t, 1, tt.own, 0)
			r.write("proc/self/mountinfo", "31 23 0:27 /pod/c /sys/fs/cgroup ro - cgroup cgroup rw,memory\n")
			if err := os.Remove(filepath.Join(r.dir, "sys/fs/cgroup/cgroup.sane_behavior")); err != nil {
				t.Fatal(err)
			}
			for path, files := range tt.groups {
				r.group(path, files)
			}
			got, err := openHost(t, host.Config{Scope: snapshot.ScopeHost, Root: r.dir}).Sources().Memory(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.Tightest != tt.want {
				t.Errorf("Tightest = %+v, want %+v", got.Tightest, tt.want)
			}
		})
	}
}
