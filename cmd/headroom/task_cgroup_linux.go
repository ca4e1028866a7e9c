package main

import (
	"os"
	"path"
	"path/filepath"
	"strings"
)

// name returns the path of the cgroup as /proc/PID/cgroup has it, or "".
func (g *cgroup) name() string {
	if g == nil {
		return ""
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(groups)) {
		if own, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path.Join(own, filepath.Base(g.dir))
		}
	}
	return ""
}
