package host

import (
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// seed adds the files of the trees that match the pattern, and the texts.
func seed(f *testing.F, pattern string, texts ...string) {
	f.Helper()
	var names []string
	for _, depth := range []string{"", "*/", "*/*/", "*/*/*/", "*/*/*/*/"} {
		found, err := filepath.Glob("testdata/trees/*/" + strings.Replace(pattern, "**/", depth, 1))
		if err != nil {
			f.Fatal(err)
		}
		names = append(names, found...)
	}
	if len(names) == 0 {
		f.Fatalf("no file matches %s", pattern)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range texts {
		f.Add([]byte(text))
	}
}

func FuzzMeminfo(f *testing.F) {
	seed(f, "proc/meminfo", "MemTotal: 1 kB\nMemFree: 0 kB\nShmem: 5 kB\n", "MemTotal: 9223372036854775807 kB\n",
		"MemTotal: 1 kB\nMemAvailable: 2 kB\nSwapTotal: 1 kB\nSwapFree: 2 kB\n", "MemTotal: -1 kB\n", "MemTotal:kB", ":\n")
	f.Fuzz(func(t *testing.T, text []byte) {
		info, err := parseMeminfo(text)
		if err != nil {
			return
		}
		if info.total <= 0 || info.available < 0 || info.available > info.total {
			t.Errorf("%d of %d bytes available", info.available, info.total)
		}
		if info.swapUse < 0 || info.swapUse > info.swapTotal || !info.swapKnown && info.swapTotal != 0 {
			t.Errorf("%d of %d bytes of swap, known: %v", info.swapUse, info.swapTotal, info.swapKnown)
		}
	})
}

func FuzzMemoryStat(f *testing.F) {
	seed(f, "sys/fs/cgroup/**/memory.stat", "inactive_file\n", "inactive_file \n", "total_inactive_file 18446744073709551615\n",
		"total_inactive_file 1\nhierarchical_memory_limit 99999999999999999999\n", " 1\n", "inactive_file 1 2\n")
	f.Fuzz(func(t *testing.T, text []byte) {
		for version := 1; version <= 2; version++ {
			stat, err := parseMemoryStat(text, version)
			if err != nil {
				continue
			}
			if stat.inactiveFile < 0 || stat.limit < 0 || stat.swapLimit < 0 {
				t.Errorf("v%d: %+v, want nothing below 0", version, stat)
			}
			if version == 2 && (stat.limit != noLimit || stat.swapLimit != noLimit) {
				t.Errorf("v2: %+v, which has no limits", stat)
			}
		}
	})
}

func FuzzLimit(f *testing.F) {
	for _, text := range []string{"max\n", "max", "0\n", "1\n", "67108864\n", "9223372036854771712\n", "9223372036854775807\n",
		"18446744073709551615\n", "18446744073709551616\n", "-1\n", "", "\n", " 1\n", "1\n\n", "0x10\n", "1_0\n", "00000000000000000001\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		line := strings.TrimSuffix(string(text), "\n")
		want, wantErr := strconv.ParseUint(line, 10, 64)
		valid := wantErr == nil && len(line) <= 20 && line[0] != '+'

		usage, err := parseUsage(text)
		if (err == nil) != (valid && want <= math.MaxInt64) || err == nil && uint64(usage) != want {
			t.Errorf("parseUsage(%q) = %d, %v", text, usage, err)
		}
		limit, err := parseLimit(text)
		if line == "max" {
			valid, want = true, noLimit
		}
		if (err == nil) != valid || err == nil && uint64(limit) != min(max(want, 1), noLimit) {
			t.Errorf("parseLimit(%q) = %d, %v", text, limit, err)
		}
	})
}

func FuzzMounts(f *testing.F) {
	seed(f, "proc/self/mountinfo", "31 23 0:27 /../a /\\057.. rw - cgroup2 cgroup2 rw\n", "31 23 0:27 /\\777 /\\1 rw - cgroup cgroup rw,\n",
		"1 2 3 / / rw - cgroup x\n", " - \n", "31 23 0:27 /a//b /c rw - cgroup c memory")
	f.Fuzz(func(t *testing.T, text []byte) {
		mounts, err := parseMounts(text)
		if err != nil {
			return
		}
		for _, m := range mounts {
			if !path.IsAbs(m.root) || !path.IsAbs(m.point) || m.version != 1 && m.version != 2 {
				t.Errorf("%+v, want absolute paths of version 1 or 2", m)
			}
			m.depth()
			for _, cgroup := range []string{"/", "/a", m.root, m.root + "/a", m.root + "/../../a", "/../.."} {
				below, ok := m.below(cgroup)
				if ok && (!path.IsAbs(below) || path.Clean(below) != below) {
					t.Errorf("%+v: %q is %q below, want a clean absolute path", m, cgroup, below)
				}
			}
		}
	})
}

func FuzzMembership(f *testing.F) {
	seed(f, "proc/self/cgroup", "0::/../x\n", "1:name=a:/b\n2:cpu,,name=c,memory:/d:e\n", "0:cpu:/\n", "4294967296:cpu:/\n", "0::\n", ":\n")
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseMembership(text)
		if err != nil {
			return
		}
		if m.v2 != "" && !path.IsAbs(m.v2) {
			t.Errorf("v2 is %q, want an absolute path", m.v2)
		}
		for controller, p := range m.v1 {
			if controller == "" || strings.HasPrefix(controller, "name=") || !path.IsAbs(p) {
				t.Errorf("controller %q in %q, want a controller's name and an absolute path", controller, p)
			}
		}
	})
}
