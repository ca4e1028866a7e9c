package host

import (
	"bytes"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// A mount is one mounted cgroup hierarchy, or a part of one.
type mount struct {
	version     int
	controllers []string // of version 1; those of version 2 stand in its files
	root        string   // the cgroup that is mounted: "/" for all that this cgroup namespace shows
	point       string   // where
}

// below returns the path of the cgroup from the mount's own root.
func (m mount) below(cgroup string) (string, bool) {
	rest, ok := strings.CutPrefix(cgroup, strings.TrimSuffix(m.root, "/"))
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	if rest == "/.." || strings.HasPrefix(rest, "/../") {
		return "", false // outside of the cgroup namespace, which shows such paths
	}
	return path.Clean("/" + rest), true
}

// depth returns how far the mount's root is below that of the namespace; less than 0 is above.
func (m mount) depth() int {
	depth := 0
	for _, name := range strings.Split(m.root, "/") {
		switch name {
		case "":
		case "..":
			depth--
		default:
			depth++
		}
	}
	return depth
}

// readMounts reads the cgroup mounts of a mountinfo file (proc_pid_mountinfo(5)), in its order:
//
//	35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
//
// Fields 4 and 5 are the root and the mount point; after the "-" come the type, the source and the options of
// the superblock, among which stand the controllers.
func readMounts(name string) ([]mount, error) {
	text, err := readOnce(newRecordFile(name))
	if err != nil {
		return nil, err
	}
	mounts, err := parseMounts(text)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return mounts, nil
}

func parseMounts(text []byte) ([]mount, error) {
	var mounts []mount
	for line := range bytes.Lines(text) {
		before, after, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " - ")
		fields, super := strings.Split(before, " "), strings.Split(after, " ")
		if !ok || len(fields) < 6 || len(super) < 2 {
			return nil, fmt.Errorf("%s is no mount", quote(line))
		}
		m := mount{root: unescape(fields[3]), point: unescape(fields[4])}
		switch super[0] {
		default:
			continue
		case "cgroup2":
			m.version = 2
		case "cgroup":
			m.version = 1
			m.controllers = strings.Split(super[len(super)-1], ",")
		}
		if !path.IsAbs(m.root) || !path.IsAbs(m.point) {
			return nil, fmt.Errorf("%s has no absolute root and mount point", quote(line))
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// unescape undoes the octal escapes, such as \040 for a space.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// A membership says which cgroups a process is in.
type membership struct {
	v1 map[string]string // by controller
	v2 string            // empty where there is none
}

// version returns that of the hierarchy which has the controller: what version 1 has, version 2 has not.
func (m membership) version(controller string) int {
	if _, ok := m.v1[controller]; ok {
		return 1
	}
	return 2
}

// readMembership reads a file /proc/PID/cgroup (cgroups(7)). Of the named hierarchies, which have no controllers,
// it keeps nothing:
//
//	9:name=systemd:/
//	4:cpu,cpuacct:/docker/8a1f
//	0::/system.slice/docker.service
func readMembership(name string) (membership, error) {
	text, err := readOnce(newKernelFile(name))
	if err != nil {
		return membership{}, err
	}
	m, err := parseMembership(text)
	if err != nil {
		return membership{}, fmt.Errorf("parse %s: %w", name, err)
	}
	return m, nil
}

func parseMembership(text []byte) (membership, error) {
	m := membership{v1: make(map[string]string)}
	for line := range bytes.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(fields) < 3 || !path.IsAbs(fields[2]) {
			return membership{}, fmt.Errorf("%s is no cgroup", quote(line))
		}
		if _, err := strconv.ParseUint(fields[0], 10, 31); err != nil {
			return membership{}, fmt.Errorf("%s is no cgroup: %w", quote(line), err)
		}
		if fields[0] == "0" && fields[1] == "" {
			m.v2 = fields[2]
			continue
		}
		for controller := range strings.SplitSeq(fields[1], ",") {
			if controller != "" && !strings.HasPrefix(controller, "name=") {
				m.v1[controller] = fields[2]
			}
		}
	}
	return m, nil
}

// quote returns text for an error: quoted, and cut where it is long.
func quote(text []byte) string {
	const longest = 80
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) > longest {
		return strconv.Quote(string(text[:longest])) + "…"
	}
	return strconv.Quote(string(text))
}
