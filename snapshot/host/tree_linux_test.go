package host_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// A fakeProc is the directory of one process under a made-up /proc.
type fakeProc struct {
	pid, parent, start int
	comm               string // "x" if empty
	rss                int    // pages
	pss                string // the text of smaps_rollup; none: no such file
	denied             bool   // smaps_rollup is there and cannot be read
	ended              bool   // the directory is there and its files are gone
	dir                int    // the name of the directory, where it is not pid
}

func pss(kb int) string {
	return fmt.Sprintf("00400000-7fff0000 ---p 00000000 00:00 0    [rollup]\nRss:   99999 kB\nPss:   %d kB\nPss_Dirty:   7 kB\n", kb)
}

// writeProc makes dir a /proc with the processes, of which the first is this one.
func writeProc(t *testing.T, dir string, procs []fakeProc) {
	t.Helper()
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "meminfo"), "MemTotal: 1000000 kB\nMemFree: 1 kB\nMemAvailable: 400000 kB\n")
	write(filepath.Join(dir, "sys", "kernel"), "no process")
	for i, p := range procs {
		own := filepath.Join(dir, strconv.Itoa(cmp.Or(p.dir, p.pid)))
		if err := os.MkdirAll(own, 0o700); err != nil {
			t.Fatal(err)
		}
		if p.ended {
			continue
		}
		if p.comm == "" {
			p.comm = "x"
		}
		stat := fmt.Sprintf("%d (%s) S %d 1 1 0 -1 4194304 9 9 9 9 9 9 9 9 20 0 1 0 %d 999999 %d 18446744073709551615 0 0 0 0 0\n",
			p.pid, p.comm, p.parent, p.start, p.rss)
		write(filepath.Join(own, "stat"), stat)
		if i == 0 {
			write(filepath.Join(dir, "self", "stat"), stat)
		}
		switch {
		case p.denied:
			if err := os.MkdirAll(filepath.Join(own, "smaps_rollup"), 0o700); err != nil {
				t.Fatal(err)
			}
		case p.pss != "":
			write(filepath.Join(own, "smaps_rollup"), p.pss)
		}
	}
}

func TestProcessMemory(t *testing.T) {
	page := int64(os.Getpagesize())
	self := fakeProc{pid: 50, parent: 1, start: 100, rss: 1000, pss: pss(10)}
	tests := []struct {
		name  string
		procs []fakeProc
		want  int64
		how   string
	}{
		{"alone", []fakeProc{self}, 10 << 10, "PSS of 1 process"},
		{"children and theirs, and nobody else's", []fakeProc{self,
			{pid: 1, parent: 0, start: 1, pss: pss(1000)},
			{pid: 60, parent: 50, start: 100, pss: pss(20)},
			{pid: 61, parent: 60, start: 200, pss: pss(30)},
			{pid: 62, parent: 50, start: 300, pss: pss(40)},
			{pid: 70, parent: 1, start: 300, pss: pss(5000)},
			{pid: 71, parent: 70, start: 400, pss: pss(6000)},
		}, 100 << 10, "PSS of 4 processes"},
		{"a child with a lower pid, after the numbers wrapped", []fakeProc{self,
			{pid: 7, parent: 50, start: 900, pss: pss(20)},
		}, 30 << 10, "PSS of 2 processes"},
		{"a process older than its parent was another's child", []fakeProc{self,
			{pid: 60, parent: 50, start: 99, pss: pss(20)},
			{pid: 61, parent: 60, start: 200, pss: pss(30)},
		}, 10 << 10, "PSS of 1 process"},
		{"a start time that is not known", []fakeProc{self,
			{pid: 60, parent: 50, start: 0, pss: pss(20)},
		}, 30 << 10, "PSS of 2 processes"},
		{"parents in a circle", []fakeProc{self,
			{pid: 60, parent: 61, start: 200, pss: pss(20)},
			{pid: 61, parent: 60, start: 200, pss: pss(30)},
			{pid: 62, parent: 62, start: 200, pss: pss(30)},
		}, 10 << 10, "PSS of 1 process"},
		{"a pid that is listed twice and its own parent", []fakeProc{self,
			{pid: 60, parent: 50, start: 200, pss: pss(20)},
			{dir: 61, pid: 60, parent: 60, start: 200},
		}, 50 << 10, "PSS of 3 processes"},
		{"a command that looks like the fields after it", []fakeProc{self,
			{pid: 60, parent: 50, start: 200, comm: "a) S 1 (b) R 2 3", pss: pss(20)},
		}, 30 << 10, "PSS of 2 processes"},
		{"PSS refused", []fakeProc{self,
			{pid: 60, parent: 50, start: 200, rss: 3, denied: true},
			{pid: 61, parent: 50, start: 200, pss: pss(20)},
		}, 30<<10 + 3*page, "PSS of 2 processes and RSS of 1 process"},
		{"PSS zero", []fakeProc{self,
			{pid: 60, parent: 50, start: 200, rss: 3, pss: pss(0)},
		}, 10<<10 + 3*page, "PSS of 1 process and RSS of 1 process"},
		{"PSS malformed", []fakeProc{self,
			{pid: 60, parent: 50, start: 200, rss: 3, pss: "Pss: 1 MB\n"},
			{pid: 61, parent: 50, start: 200, rss: 4, pss: "Pss: many kB\n"},
			{pid: 62, parent: 50, start: 200, rss: 5, pss: "Rss: 1 kB\n"},
		}, 10<<10 + 12*page, "PSS of 1 process and RSS of 3 processes"},
		{"a kernel without smaps_rollup", []fakeProc{
			{pid: 50, parent: 1, start: 100, rss: 2},
			{pid: 60, parent: 50, start: 200, rss: 3},
		}, 5 * page, "RSS of 2 processes"},
		{"a child that ended, and a dead one nobody waited for", []fakeProc{self,
			{pid: 60, parent: 50, ended: true},
			{pid: 61, parent: 50, start: 200, denied: true},
		}, 10 << 10, "PSS of 1 process"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("HOST_PROC", dir)
			writeProc(t, dir, tt.procs)
			got, err := host.NewSources(snapshot.ScopeProcess).Memory(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := snapshot.MemoryReading{
				Used: tt.want, Total: 1000000 << 10, Limit: "memory of the host",
				Tightest: snapshot.MemoryLevel{Used: 600000 << 10, Total: 1000000 << 10, Limit: "memory of the host"},
				HostUsed: 600000 << 10, HostTotal: 1000000 << 10, HostKnown: true,
				Definition: tt.how, Source: "/proc stat and smaps_rollup",
			}
			if got != want {
				t.Errorf("Memory = %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestProcessMemoryWithoutItself(t *testing.T) {
	good := "50 (x) S 1 1 1 0 -1 4194304 9 9 9 9 9 9 9 9 20 0 1 0 100 999999 10 0 0\n"
	tests := []struct {
		name      string
		self, own string // "": no such file
	}{
		{"no self", "", good},
		{"no process of that pid", good, ""},
		{"another process of that pid", good, "50 (x) S 1 1 1 0 -1 4194304 9 9 9 9 9 9 9 9 20 0 1 0 101 999999 10 0 0\n"},
		{"no command", "50 x S 1\n", good},
		{"parentheses the wrong way round", "50 )x( S 1\n", good},
		{"too few fields", "50 (x) S 1 1 1 0 -1 4194304 9 9 9 9 9 9 9 9 20 0 1 0 100 999999\n", good},
		{"not numbers", "50 (x) S one 1 1 0 -1 4194304 9 9 9 9 9 9 9 9 20 0 1 0 100 999999 10 0 0\n", good},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("HOST_PROC", dir)
			writeProc(t, dir, nil)
			for name, text := range map[string]string{"self": tt.self, "50": tt.own} {
				if text == "" {
					continue
				}
				if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name, "stat"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := host.NewSources(snapshot.ScopeProcess).Memory(t.Context()); err == nil {
				t.Errorf("Memory = %+v, want an error", got)
			}
		})
	}
}
