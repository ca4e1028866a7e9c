package host

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// hostFiles makes a host of the files: a name that ends in / is a directory.
func hostFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		full := filepath.Join(root, name)
		dir := full
		if !strings.HasSuffix(name, "/") {
			dir = filepath.Dir(full)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if dir != full {
			if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

func TestFindGroups(t *testing.T) {
	const (
		self   = "proc/self/cgroup"
		mounts = "proc/self/mountinfo"
		rest   = "27 1 254:0 / / rw,relatime shared:1 master:7 - ext4 /dev/my\\040disk rw\n"
		cg2    = "31 23 0:27 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	)
	v2 := func(path string, dirs ...string) map[string]string {
		files := map[string]string{self: "0::" + path + "\n", mounts: rest + cg2, "sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory\n"}
		for _, dir := range dirs {
			files["sys/fs/cgroup"+dir+"/"] = ""
		}
		return files
	}
	v1 := func(cgroup, mountinfo string, dirs ...string) map[string]string {
		files := map[string]string{self: cgroup, mounts: rest + mountinfo}
		for _, dir := range dirs {
			files[dir+"/"] = ""
		}
		return files
	}
	tests := []struct {
		name       string
		files      map[string]string
		cgroup     string
		controller string
		want       []string // "version path dir"
		err        string
		none       bool // the error is errNoGroup
	}{
		{"v2", v2("/a/b", "/a/b"), "", "memory", []string{"2 /a/b /a/b", "2 /a /a", "2 / "}, "", false},
		{"v2: in a cgroup namespace", v2("/"), "", "memory", []string{"2 / "}, "", false},
		{"v2: a colon and a space in the name", v2("/a: b", "/a: b"), "", "cpu", []string{"2 /a: b /a: b", "2 / "}, "", false},
		{"v2: outside of the cgroup namespace", v2("/../../x", "/x"), "", "memory", nil, "/../../x is outside of /", true},
		{"v2: a name that begins with two dots", v2("/..x", "/..x"), "", "memory", []string{"2 /..x /..x", "2 / "}, "", false},
		{"v2: without the controller", v2("/a", "/a"), "", "hugetlb", nil, "does not have the controller hugetlb", true},
		{"v2: CPU time needs no controller", v2("/"), "", "cpuacct", []string{"2 / "}, "", false},
		{"v2: not mounted", map[string]string{self: "0::/a\n", mounts: rest}, "", "memory", nil, "the controller memory is not mounted", true},
		{"v2: a cgroup that is not there", v2("/gone"), "", "memory", nil, "no such file", true},
		{"v2: a file in its place", func() map[string]string {
			files := v2("/f")
			files["sys/fs/cgroup/f"] = ""
			return files
		}(), "", "memory", nil, "is not a directory", true},

		{"v1", v1("4:memory:/a\n", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "sys/fs/cgroup/memory/a"), "", "memory",
			[]string{"1 /a /memory/a", "1 / /memory"}, "", false},
		{"v1: controllers together, under either order", v1("3:cpuacct,cpu:/a\n", "35 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
			"sys/fs/cgroup/cpu,cpuacct/a"), "", "cpu", []string{"1 /a /cpu,cpuacct/a", "1 / /cpu,cpuacct"}, "", false},
		{"v1: a named hierarchy is none", v1("1:name=memory:/n\n4:memory:/\n", "34 31 0:31 / /sys/fs/cgroup/n rw - cgroup cgroup rw,xattr,name=memory\n"+
			"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "sys/fs/cgroup/memory", "sys/fs/cgroup/n/n"), "", "memory",
			[]string{"1 / /memory"}, "", false},
		{"v1: a container sees its own", v1("4:memory:/docker/1/x\n", "35 31 0:32 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "sys/fs/cgroup/memory/x"), "", "memory",
			[]string{"1 /docker/1/x /memory/x", "1 /docker/1 /memory"}, "", false},
		{"v1: the mount of another container", v1("4:memory:/docker/12\n", "35 31 0:32 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "sys/fs/cgroup/memory/2"), "", "memory",
			nil, "/docker/12 is outside of /docker/1", true},
		{"v1: above the cgroup namespace, as is its mount", v1("4:memory:/../x\n", "35 31 0:32 /.. /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "sys/fs/cgroup/memory/x"), "", "memory",
			[]string{"1 /x /memory/x", "1 / /memory"}, "", false},
		{"v1: further above than its mount", v1("4:memory:/../../x\n", "35 31 0:32 /.. /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "sys/fs/cgroup/memory/x"), "", "memory",
			nil, "outside of /..", true},
		{"v1: the mount that shows most", v1("4:memory:/a/b\n", "35 31 0:32 /a/b /part rw - cgroup cgroup rw,memory\n36 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			"part", "sys/fs/cgroup/memory/a/b"), "", "memory", []string{"1 /a/b /memory/a/b", "1 /a /memory/a", "1 / /memory"}, "", false},
		{"v1: a mount that another one covers", v1("4:memory:/a/b\n", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n36 31 0:32 /a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			"sys/fs/cgroup/memory/b"), "", "memory", []string{"1 /a/b /memory/b", "1 /a /memory"}, "", false},
		{"v1: a mount point with a space", v1("4:memory:/a b\n", "35 31 0:32 /a\\040b /sys/fs/cgroup/m\\040\\134x rw - cgroup cgroup rw,memory\n", "sys/fs/cgroup/m \\x"), "", "memory",
			[]string{"1 /a b /m \\x"}, "", false},
		{"v1: not mounted", v1("4:memory:/a\n0::/a\n", cg2), "", "memory", nil, "the controller memory is not mounted", true},
		{"neither: no such controller", v1("4:cpu:/a\n", ""), "", "memory", nil, "the kernel has no controller memory", true},

		{"hybrid: on v1", v1("4:memory:/m\n0::/u\n", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			"sys/fs/cgroup/memory/m", "sys/fs/cgroup/unified/u"), "", "memory", []string{"1 /m /memory/m", "1 / /memory"}, "", false},
		{"hybrid: on v2", func() map[string]string {
			files := v1("4:cpu:/m\n0::/u\n", "35 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
				"sys/fs/cgroup/cpu/m", "sys/fs/cgroup/unified/u")
			files["sys/fs/cgroup/unified/cgroup.controllers"] = "memory\n"
			return files
		}(), "", "memory", []string{"2 /u /unified/u", "2 / /unified"}, "", false},

		{"named", v2("/a/b", "/a/b", "/c"), "/c", "memory", []string{"2 /c /c", "2 / "}, "", false},
		{"named, not there", v2("/a/b", "/a/b"), "/c", "memory", nil, "cgroup /c: ", false},
		{"named, below what a container sees", v1("4:memory:/docker/1\n", "35 31 0:32 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "sys/fs/cgroup/memory/x"), "/x", "memory",
			[]string{"1 /x /memory/x", "1 / /memory"}, "", false},
		{"named, out of the tree", v2("/a/b", "/a/b"), "/../../proc", "memory", nil, "cgroup /proc: ", false},
		{"the host", v2("/a/b"), "host", "memory", nil, "", false},
		{"the root", v2("/a/b"), "/", "memory", nil, "", false},

		{"a host mounted elsewhere", map[string]string{self: "4:memory:/docker/1\n", "proc/1/mountinfo": "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			mounts: "35 31 0:32 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "sys/fs/cgroup/memory/docker/1/": ""}, "", "memory",
			[]string{"1 /docker/1 /memory/docker/1", "1 /docker /memory/docker", "1 / /memory"}, "", false},
		{"a host mounted elsewhere, from a cgroup namespace", map[string]string{self: "0::/\n", "proc/1/mountinfo": "31 23 0:27 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			mounts: cg2, "sys/fs/cgroup/cgroup.controllers": "memory\n"}, "", "memory", nil, "/ is outside of /../.., which is mounted at /sys/fs/cgroup", true},
		{"no cgroups", map[string]string{mounts: rest}, "", "memory", nil, "proc/self/cgroup: no such file", true},
		{"no mountinfo", map[string]string{self: "0::/\n"}, "", "memory", nil, "proc/self/mountinfo: no such file", false},
		{"a cgroup without a path", map[string]string{self: "0::\n", mounts: rest + cg2}, "", "memory", nil, `"0::" is no cgroup`, false},
		{"a cgroup that is garbage", map[string]string{self: "x:y:/z\n", mounts: rest + cg2}, "", "memory", nil, `"x:y:/z" is no cgroup`, false},
		{"a mount that is garbage", map[string]string{self: "0::/\n", mounts: strings.Repeat("x", 999)}, "", "memory", nil, `xxx"… is no mount`, false},
		{"a relative mount point", map[string]string{self: "0::/\n", mounts: "31 23 0:27 / sys rw - cgroup2 cgroup2 rw\n"}, "", "memory", nil, "no absolute root and mount point", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := hostFiles(t, tt.files)
			groups, err := findGroups(root, filepath.Join(root, "proc"), tt.cgroup, tt.controller)
			var got []string
			for _, g := range groups {
				dir := strings.TrimPrefix(g.dir, filepath.Join(root, "sys/fs/cgroup"))
				got = append(got, string(rune('0'+g.version))+" "+g.path+" "+dir)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("findGroups = %q, want %q", got, tt.want)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q in it", err, tt.err)
			}
			if errors.Is(err, errNoGroup) != tt.none {
				t.Errorf("error %v is errNoGroup: %v, want %v", err, !tt.none, tt.none)
			}
		})
	}
}
