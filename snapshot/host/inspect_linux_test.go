package host_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// inspect returns the findings as lines, with the names of files as if root were /.
func inspect(t *testing.T, c host.Config) []string {
	t.Helper()
	var lines []string
	synctest.Test(t, func(t *testing.T) { // so that no time passes between two readings of one file
		found, err := host.Inspect(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			line := fmt.Sprintf("%s/%s %s: %s", f.Area, f.Name, f.State, f.Detail)
			if f.Advice != "" {
				line += " -> " + f.Advice
			}
			lines = append(lines, strings.ReplaceAll(line, c.Root, ""))
		}
	})
	return lines
}

// link makes a symbolic link, as the kernel has them for namespaces.
func link(t *testing.T, root, name, target string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func TestInspect(t *testing.T) {
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		t.Skip("the tests run with GOMEMLIMIT")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // more than the least quota gives
	pressure := files{"proc/pressure/cpu": psi(0, 0), "proc/pressure/memory": psi(0, 0), "proc/pressure/io": psi(0, 0)}
	seen := files{"proc/1/stat": "1 (init) S 0", "proc/self/stat": "9 (headroom) S 1"}
	const (
		systemd = "sys/fs/cgroup/system.slice/headroom.service/"
		unit    = "if this limit is for headroom alone and not for the workers, start it with --cgroup host"
		boot    = "boot with psi=1 on the kernel's command line, of a kernel with CONFIG_PSI; headroom does without"
		gone    = ": no such file or directory"
		mount   = "a limit that is there is not known: mount the cgroups of the host where they were, read-only"
		docker  = "/docker/3f1c9e7a5b2d4860a1b3c5d7e9f0123456789abcdef0123456789abcdef01234"
		pod     = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7c0e4a1d.slice"
	)
	for _, tt := range []struct {
		name, tree, cgroup string
		more               files
		links              map[string]string
		want               []string // among the findings
		not                []string // the beginnings of lines that must not be
	}{
		{
			name: "a bare host has no limits but its own", tree: "v2-host", more: pressure.with(seen),
			links: map[string]string{"proc/self/ns/pid": "pid:[4026531836]", "proc/self/ns/cgroup": "cgroup:[4026531835]"},
			want: []string{
				"limits/memory ok: 15.6 GiB, memory of the host",
				"limits/cgroup memory ok: v2, /user.slice/user-1000.slice/session-3.scope, and 3 above it",
				"limits/cgroup cpu ok: that of memory",
				"signals/pressure_memory ok: 0% waiting, /proc/pressure/memory",
				"processes/visibility ok: all processes of this host",
				"program/GOMEMLIMIT ok: not set; nothing but the host's memory limits it",
			},
			not: []string{"limits/cgroups above"},
		},
		{
			name: "a container in Kubernetes has that of its pod", tree: "v2-kubernetes", more: seen,
			links: map[string]string{"proc/self/ns/pid": "pid:[4026532000]", "proc/self/ns/cgroup": "cgroup:[4026532001]"},
			want: []string{
				"limits/memory ok: 512.0 MiB, memory.max of " + pod,
				"limits/memory left ok: 72.0 MiB of 512.0 MiB, memory.max of " + pod,
				"limits/cgroups above limited: cannot be seen from this cgroup namespace, nor their limits -> where those " +
					"are tighter, start the container in the cgroup namespace of the host (cgroupns=host)",
				"processes/visibility limited: only the processes of this pid namespace, as in a container -> for those of " +
					"others share the pid namespace of the host (pid=host, hostPID), or of the pod",
				"program/GOMEMLIMIT limited: not set, under a limit on memory -> a Go program alone in it does best with " +
					"GOMEMLIMIT=460MiB, nine tenths",
			},
		},
		{
			name: "a unit of systemd may have limits that are not the workers'", tree: "v2-systemd", more: seen.with(files{
				systemd + "cpu.max": "50000 100000\n", systemd + "cpu.stat": "usage_usec 5\nnr_periods 2\nnr_throttled 1\n",
			}),
			want: []string{
				"limits/memory ok: 800.0 MiB, memory.high of /system.slice/headroom.service -> " + unit,
				"limits/cpu ok: 0.5 cores, cpu.max of /system.slice/headroom.service -> " + unit,
				"limits/swap ok: 7.0 MiB of 256.0 MiB in use",
				"program/GOMAXPROCS limited: 2, over the 0.5 cores that it may use -> a Go program is throttled less with " +
					"GOMAXPROCS=1",
			},
		},
		{
			name: "and none with --cgroup host", tree: "v2-systemd", cgroup: host.NoCgroup, more: seen,
			want: []string{
				"limits/memory ok: 15.6 GiB, memory of the host",
				"limits/cgroup memory ok: none, as was asked for",
			},
		},
		{
			name: "docker on version 1 shows what it mounts", tree: "v1-docker", more: seen,
			want: []string{
				"limits/memory ok: 128.0 MiB, memory.limit_in_bytes of " + docker,
				"limits/cgroup memory ok: v1, " + docker,
				"limits/cgroup cpu limited: none can be seen: the controller cpu is not mounted -> " + mount,
			},
		},
		{
			name: "without cgroups nothing can be missed", tree: "none", more: pressure.with(seen),
			want: []string{
				"limits/memory ok: 1.9 GiB, memory of the host",
				"limits/cgroup memory ok: none: the kernel has no cgroups",
				"limits/cgroup cpu ok: none: the kernel has no cgroups",
			},
		},
		{
			name: "hidepid", tree: "hidepid", more: pressure,
			want: []string{
				"limits/memory ok: 256.0 MiB, memory.max of /system.slice/headroom.service -> " + unit,
				"processes/visibility limited: the processes of other users are hidden (hidepid), so only the memory of " +
					"one's own trees is known -> run as root, or as a member of the group that the gid= of the mount of " +
					"/proc names",
				"processes/PSS of others limited: the memory of processes of other users counts by RSS, with what they " +
					"share counted twice -> give headroom CAP_SYS_PTRACE, or the user that the workers run as",
			},
		},
		{
			name: "pressure is off", tree: "v2-host", more: seen,
			want: []string{
				"signals/pressure_cpu missing: open /proc/pressure/cpu" + gone + " -> " + boot,
				"signals/pressure_memory missing: open /proc/pressure/memory" + gone + " -> " + boot,
				"signals/pressure_io missing: open /proc/pressure/io" + gone + " -> " + boot,
				"signals/run_queue_wait missing: the kernel has no /proc/schedstat (CONFIG_SCHEDSTATS) -> none is needed: " +
					"pressure_cpu tells of the same",
			},
		},
		{
			name: "schedstat is there", tree: "v2-host", more: files{"proc/schedstat": "version 17\ncpu0 0 0 0 0 0 0 5 6 7\n"},
			not: []string{"signals/run_queue_wait missing: the kernel"},
		},
		{
			name: "a cgroup that is not there", tree: "v2-host", cgroup: "/gone", more: seen,
			want: []string{
				"limits/memory missing: read memory of the cgroup: cgroup /gone: stat /sys/fs/cgroup/gone" + gone + " -> name a " +
					"cgroup that each controller has; without --cgroup doctor shows the one that it is in",
				"limits/cgroup memory missing: not known",
				"signals/memory missing: unknown, as its limit is",
				"program/GOMEMLIMIT ok: not set",
			},
		},
		{
			name: "no procfs at all", tree: "none", more: files{"proc": removed},
			want: []string{
				"limits/memory missing: read memory of the host: open /proc/meminfo" + gone,
				"processes/visibility missing: there is no procfs at /proc -> mount the /proc of the host there, read-only",
			},
			not: []string{"limits/cgroup"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata/trees", tt.tree))); err != nil {
				t.Fatal(err)
			}
			tt.more.write(t, root)
			for name, target := range tt.links {
				link(t, root, name, target)
			}
			got := inspect(t, host.Config{Scope: snapshot.ScopeHost, Root: root, Cgroup: tt.cgroup})
			for _, want := range tt.want {
				if !slices.Contains(got, want) {
					t.Errorf("no finding %q in\n%s", want, strings.Join(got, "\n"))
				}
			}
			for _, not := range tt.not {
				if slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, not) }) {
					t.Errorf("a finding %q in\n%s", not, strings.Join(got, "\n"))
				}
			}
		})
	}
}

func TestInspectErrors(t *testing.T) {
	if _, err := host.Inspect(t.Context(), host.Config{Root: "relative"}); err == nil || !strings.Contains(err.Error(), "Root") {
		t.Errorf("%v, want an error that names Root", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := host.Inspect(ctx, host.Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that its context ended", err)
	}
}
