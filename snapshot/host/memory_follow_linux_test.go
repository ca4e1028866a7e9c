package host_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

func TestMemoryFollowsChanges(t *testing.T) {
	type step struct {
		after time.Duration
		do    func(fakeRoot)
		total int64
		limit string // none: an error
	}
	set := func(name, text string) func(fakeRoot) {
		return func(r fakeRoot) { r.write("sys/fs/cgroup/"+name, text) }
	}
	tests := []struct {
		name   string
		cgroup string
		steps  []step
	}{
		{"a limit, within two samples", "", []step{
			{0, nil, 100 * mib, "memory.max of /a"},
			{time.Second, set("a/memory.max", amount(50*mib)), 50 * mib, "memory.max of /a"},
			{time.Second - time.Millisecond, set("a/memory.max", "max\n"), 50 * mib, "memory.max of /a"},
			{time.Second, nil, gib, "memory of the host"},
		}},
		{"a limit is read once a second", "", []step{
			{0, nil, 100 * mib, "memory.max of /a"},
			{100 * time.Millisecond, set("a/memory.max", amount(50*mib)), 100 * mib, "memory.max of /a"},
			{900 * time.Millisecond, nil, 50 * mib, "memory.max of /a"},
		}},
		{"another limit", "", []step{
			{0, nil, 100 * mib, "memory.max of /a"},
			{time.Second, set("a/memory.high", amount(60*mib)), 60 * mib, "memory.high of /a"},
		}},
		{"another cgroup, within 30 s", "", []step{
			{0, nil, 100 * mib, "memory.max of /a"},
			{29 * time.Second, func(r fakeRoot) { r.enter(2, "/c") }, 100 * mib, "memory.max of /a"},
			{time.Second, nil, 80 * mib, "memory.max of /c"},
		}},
		{"a controller that is switched on, within 60 s", "/d", []step{
			{0, nil, gib, "memory of the host"},
			{time.Second, set("d/memory.max", amount(70*mib)), gib, "memory of the host"},
			{60 * time.Second, nil, 70 * mib, "memory.max of /d"},
		}},
		{"a bad limit, then a good one", "", []step{
			{0, nil, 100 * mib, "memory.max of /a"},
			{time.Second, set("a/memory.max", "?\n"), 0, ""},
			{time.Millisecond, nil, 0, ""},
			{time.Millisecond, set("a/memory.max", amount(50*mib)), 50 * mib, "memory.max of /a"},
		}},
		{"a usage that is not there, then it is", "/f", []step{
			{0, nil, 0, ""},
			{time.Millisecond, nil, 0, ""},
			{time.Millisecond, set("f/memory.current", amount(mib)), 60 * mib, "memory.max of /f"},
		}},
		{"a named cgroup that is not there yet", "/e", []step{
			{0, nil, 0, ""},
			{time.Second, func(r fakeRoot) { r.group("/e", v2(0, 0, cgroup{"memory.max": amount(90 * mib)})) }, 90 * mib, "memory.max of /e"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoot(t, 2, "/a", 0)
			r.group("/a", v2(10*mib, 0, cgroup{"memory.max": amount(100 * mib)}))
			r.group("/c", v2(20*mib, 0, cgroup{"memory.max": amount(80 * mib)}))
			r.group("/d", cgroup{"memory.current": amount(0), "memory.stat": "inactive_file 0\n"})
			r.group("/f", v2(0, 0, cgroup{"memory.max": amount(60 * mib), "memory.current": ""}))
			h := openHost(t, host.Config{Scope: snapshot.ScopeHost, Root: r.dir, Cgroup: tt.cgroup})
			synctest.Test(t, func(t *testing.T) {
				for i, s := range tt.steps {
					time.Sleep(s.after)
					if s.do != nil {
						s.do(r)
					}
					got, err := h.Sources().Memory(t.Context())
					if (err != nil) != (s.limit == "") || got.Total != s.total || got.Limit != s.limit {
						t.Fatalf("step %d: %+v, %v; want %d of %q", i, got, err, s.total, s.limit)
					}
				}
			})
		})
	}
}

// When the swap is switched off, its limit no longer binds.
func TestMemoryFollowsTheSwap(t *testing.T) {
	r := newRoot(t, 1, "/a", 200*mib)
	r.group("/a", v1(60*mib, 0, cgroup{"memory.limit_in_bytes": amount(100 * mib),
		"memory.memsw.limit_in_bytes": amount(120 * mib), "memory.memsw.usage_in_bytes": amount(110 * mib)}))
	h := openHost(t, host.Config{Scope: snapshot.ScopeHost, Root: r.dir})
	for _, want := range []string{"memory.memsw.limit_in_bytes of /a (memory and swap)", "memory.limit_in_bytes of /a"} {
		got, err := h.Sources().Memory(t.Context())
		if err != nil || got.Limit != want {
			t.Errorf("Limit = %q, %v; want %q", got.Limit, err, want)
		}
		r.write("proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 524288 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")
	}
}
