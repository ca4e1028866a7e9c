package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// errNoGroup reports that no cgroup can be seen that holds for the process: the kernel has none, the controller
// is not mounted here, or the process is outside what is mounted. No limit is known then.
var errNoGroup = errors.New("no cgroup to see")

// A group is one cgroup, as the mount of one controller shows it.
type group struct {
	path    string // as the kernel and people name it, such as /kubepods/burstable/pod1
	dir     string // where its files are, the prefix root included
	version int    // of the hierarchy: 1 or 2
}

// findGroups returns the cgroups whose limits hold for a process in the controller ("memory", "cpu", "cpuacct" or
// "cpuset"), the leaf first, up to the root that can be seen. Which version has the controller is decided for
// each controller by itself, since a hybrid system mounts both.
//
// root is put before every mount point; it is empty except where the host's file system is mounted elsewhere, and
// then the mount points are those of the first process, if that can be seen. proc is the procfs to read, whole. cgroup names the leaf: empty for this process's own, "/" or "host" for none
// at all, else a path below the root that can be seen.
//
// An error that is errNoGroup says why there is none; any other, why that is not known. It reads a handful of
// files and keeps none open.
func findGroups(root, proc, cgroup, controller string) ([]group, error) {
	if cgroup == "host" || cgroup != "" && path.Clean("/"+cgroup) == "/" {
		return nil, nil
	}
	mounts, err := mountsBelow(root, proc)
	own, ownErr := readMembership(filepath.Join(proc, "self", "cgroup"))
	if errors.Is(ownErr, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errNoGroup, ownErr)
	}
	if err := errors.Join(err, ownErr); err != nil {
		return nil, fmt.Errorf("find the cgroup of the controller %s: %w", controller, err)
	}
	version := own.version(controller)
	leaf := own.v2
	if version == 1 {
		leaf = own.v1[controller]
	}
	named := cgroup != ""
	if named {
		leaf = path.Clean("/" + cgroup)
	}
	if leaf == "" {
		return nil, fmt.Errorf("%w: the kernel has no controller %s", errNoGroup, controller)
	}
	why := fmt.Errorf("%w: the controller %s is not mounted", errNoGroup, controller)
	for _, m := range mountsOf(mounts, version, controller) {
		below, ok := leaf, true
		if !named {
			below, ok = m.below(leaf)
		}
		if !ok {
			why = fmt.Errorf("%w: %s is outside of %s, which is mounted at %s", errNoGroup, leaf, m.root, m.point)
			continue
		}
		top := filepath.Join(root, m.point)
		if version == 2 && !offers(top, controller) {
			why = fmt.Errorf("%w: the cgroup v2 at %s does not have the controller %s", errNoGroup, m.point, controller)
			continue
		}
		if st, err := os.Stat(filepath.Join(top, below)); err != nil {
			why = fmt.Errorf("%w: %w", errNoGroup, err)
			continue
		} else if !st.IsDir() {
			why = fmt.Errorf("%w: %s is not a directory", errNoGroup, filepath.Join(top, below))
			continue
		}
		prefix := m.root
		if named {
			prefix = "/"
		}
		return walk(top, prefix, below, version), nil
	}
	if named {
		// Somebody asked for its limits: the host's are no answer.
		return nil, fmt.Errorf("cgroup %s: %s", leaf, strings.TrimPrefix(why.Error(), errNoGroup.Error()+": "))
	}
	return nil, why
}

// mountsBelow returns the mounts of the cgroups. What this process has mounted says nothing of a host whose file
// system is mounted elsewhere.
func mountsBelow(root, proc string) ([]mount, error) {
	if root != "" && root != "/" {
		if mounts, err := readMounts(filepath.Join(proc, "1", "mountinfo")); err == nil {
			return mounts, nil
		}
	}
	return readMounts(filepath.Join(proc, "self", "mountinfo"))
}

// isRoot reports whether the group is the root of all of its hierarchy of version 1, which has no limits, and not
// only the topmost that can be seen.
func (g group) isRoot() bool {
	_, err := readOnce(newKernelFile(filepath.Join(g.dir, "cgroup.sane_behavior")))
	return err == nil
}

// walk returns the group below the directory top and its ancestors there.
func walk(top, prefix, below string, version int) []group {
	var groups []group
	for {
		groups = append(groups, group{path.Join(prefix, below), filepath.Join(top, below), version})
		if below == "/" {
			return groups
		}
		below = path.Dir(below)
	}
}

// mountsOf returns the mounts that may have the controller, the one that shows most of the ancestors first.
func mountsOf(all []mount, version int, controller string) []mount {
	var found []mount
	for _, m := range all {
		if m.version == version && (version == 2 || slices.Contains(m.controllers, controller)) {
			found = append(found, m)
		}
	}
	slices.SortStableFunc(found, func(a, b mount) int { return a.depth() - b.depth() })
	return found
}

// offers reports whether the cgroup v2 in the directory has the controller. Every one counts CPU time.
func offers(dir, controller string) bool {
	if controller == "cpuacct" {
		return true
	}
	text, err := readOnce(newKernelFile(filepath.Join(dir, "cgroup.controllers")))
	return err == nil && slices.Contains(strings.Fields(string(text)), controller)
}
