package main

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// ownCgroup stands for the cgroup of the server itself.
const ownCgroup = "own"

// hostSignals are the names of what [host.Host.Signals] may return.
var hostSignals = []string{"cpu_throttled", "run_queue_wait"}

// hostSettings say where the host is read, and whose limits hold.
type hostSettings struct{ cgroup, root string }

func (h *hostSettings) settings() []setting {
	root := textSetting("host-root", "path", &h.root, "an absolute path", checkAbsolute,
		"where the file system of the host is mounted, for a server in a container")
	root.unset = "/"
	return []setting{
		textSetting("cgroup", "name", &h.cgroup, "own, host or a path such as /kubepods/pod1", checkCgroup,
			"cgroup whose limits on CPU and memory are judged, with those of its ancestors: own for that of the "+
				"server, host for none, or a path below the mounted hierarchies"),
		root,
	}
}

func checkCgroup(text string) error {
	if text == ownCgroup || text == host.NoCgroup || strings.HasPrefix(text, "/") && path.Clean(text) == text {
		return nil
	}
	return errNotAccepted
}

func checkAbsolute(text string) error {
	if text == "" || filepath.IsAbs(text) {
		return nil
	}
	return errNotAccepted
}

// open returns what reads the host. The caller closes it.
func (h *hostSettings) open() (*host.Host, error) {
	c := host.Config{Scope: snapshot.ScopeHost, Cgroup: h.cgroup, Root: h.root}
	if h.cgroup == ownCgroup {
		c.Cgroup = ""
	}
	return host.Open(c)
}

// sampling returns what is sampled of h. Its further signals are none of Crawlee's.
func (c *serveSettings) sampling(h *host.Host) snapshot.Config {
	conf := c.snapshot
	conf.Sources = h.Sources()
	isFurther := func(name string) bool { return slices.Contains(hostSignals, name) }
	conf.Disabled = slices.DeleteFunc(slices.Clone(conf.Disabled), isFurther)
	if conf.Profile == snapshot.ProfileHeadroom {
		conf.Signals = slices.DeleteFunc(h.Signals(), func(s snapshot.Signal) bool {
			return slices.Contains(c.snapshot.Disabled, s.Name)
		})
	}
	return conf
}
