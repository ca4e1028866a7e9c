package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/headroom-rpc/headroom/internal/spawn"
)

// A cgroup is a control group (v2) below headroom's own, in which the command runs with all that it starts, also
// what left its process group. A nil one does nothing.
type cgroup struct {
	dir    string
	folder *os.File // dir; nil where nothing is started in it
}

// newCgroup makes a cgroup that can be killed: since Linux 5.14, and where headroom may write its own.
func newCgroup() (*cgroup, error) {
	parent, err := parentCgroup()
	if err != nil {
		return nil, err
	}
	dir, folder, err := spawn.NewGroup(parent)
	if err != nil {
		return nil, err
	}
	return &cgroup{dir, folder}, nil
}

// parentCgroup returns the directory of the cgroup (v2) that this process is in.
func parentCgroup() (string, error) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	return cgroupDir(string(groups), string(mounts))
}

// cgroupDir finds the directory by the texts of /proc/self/cgroup and /proc/self/mountinfo (proc(5)).
func cgroupDir(groups, mounts string) (string, error) {
	own := ""
	for line := range strings.Lines(groups) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			own = path
		}
	}
	for line := range strings.Lines(mounts) {
		// 36 35 98:0 /root /mount options - type source options
		fields, kind, ok := strings.Cut(line, " - ")
		columns := strings.Fields(fields)
		if !ok || len(columns) < 5 || !strings.HasPrefix(kind, "cgroup2 ") {
			continue
		}
		if below, err := filepath.Rel(columns[3], own); err == nil && filepath.IsLocal(below) {
			return filepath.Join(columns[4], below), nil
		}
	}
	return "", errors.New("no cgroup v2")
}

func (g *cgroup) path() string {
	if g == nil {
		return ""
	}
	return g.dir
}

// kill kills everything in the cgroup.
func (g *cgroup) kill() {
	if g != nil {
		_ = os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0) // it may be gone
	}
}

// populated reports whether a process is in the cgroup.
func (g *cgroup) populated() bool {
	if g == nil {
		return false
	}
	events, err := os.ReadFile(filepath.Join(g.dir, "cgroup.events"))
	return err == nil && bytes.Contains(events, []byte("populated 1")) // it is gone where it cannot be read
}

// leave removes the cgroup. What still runs in it goes back to where headroom is.
func (g *cgroup) leave() {
	if g == nil {
		return
	}
	if g.folder != nil {
		_ = g.folder.Close() // it was opened for reading
	}
	spawn.RemoveGroup(g.dir)
}
