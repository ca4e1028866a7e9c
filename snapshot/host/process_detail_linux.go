package host

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strconv"
)

// ReadProcessDetail returns the detail of the process that has the pid and began at start, as a pass of a
// ProcessScanner tells it. It returns ErrNoProcess when that has ended. What another user may not read is unknown.
//
// Reading the PSS takes the kernel some 20 ms for each GiB.
func ReadProcessDetail(pid int32, start uint64) (d ProcessDetail, err error) {
	dir := filepath.Join(cmp.Or(os.Getenv("HOST_PROC"), procfs), strconv.Itoa(int(pid)))
	if pss, err := readPSS(dir); err == nil {
		d.PSS, d.PSSKnown = pss, true
	}
	text, err := readProcess(filepath.Join(dir, "status"))
	if err != nil {
		return ProcessDetail{}, ended(err)
	}
	d.Swap, d.SwapKnown = statusSize(text, "VmSwap:")
	d.Peak, d.PeakKnown = statusSize(text, "VmHWM:")
	// As long as it is this process now, it was when the files were read.
	now, _, err := readStat(dir)
	if err != nil {
		return ProcessDetail{}, ended(err)
	}
	if now.start != start {
		return ProcessDetail{}, ErrNoProcess
	}
	return d, nil
}

// statusSize returns the size of one line of a status file, such as "VmSwap:	     128 kB".
func statusSize(text []byte, name string) (int64, bool) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(name))
		if !ok {
			continue
		}
		number, ok := bytes.CutSuffix(bytes.TrimSpace(rest), []byte(" kB"))
		kb, isNumber := digits(number)
		if !ok || !isNumber || kb > 1<<53 {
			return 0, false
		}
		return int64(kb) << 10, true
	}
	return 0, false
}

// OwnGroup opens the cgroup of the process if its parent is in another one: then it holds the process and what that
// started, as far as nobody moved it. The error is ErrNoGroup otherwise.
func (p *Process) OwnGroup() (*Group, error) {
	proc := cmp.Or(os.Getenv("HOST_PROC"), procfs)
	dir := filepath.Join(proc, strconv.Itoa(p.pid))
	text, err := readProcess(filepath.Join(dir, "cgroup"))
	if err != nil {
		return nil, ended(err)
	}
	now, _, err := readStat(dir)
	if err != nil {
		return nil, ended(err)
	}
	if now.start != p.start {
		return nil, ErrNoProcess
	}
	parents, err := readProcess(filepath.Join(proc, strconv.Itoa(now.parent), "cgroup"))
	if err != nil {
		return nil, errors.Join(ErrNoGroup, err)
	}
	theirs := groupPaths(parents)
	for controller, name := range groupPaths(text) {
		if other, ok := theirs[controller]; ok && other != name && name != "/" && path.IsAbs(name) {
			return OpenGroup(name)
		}
	}
	return nil, ErrNoGroup
}

// groupPaths returns the path of each hierarchy of a cgroup file (cgroups(7)): "4:memory:/a/b" or "0::/a/b".
func groupPaths(text []byte) map[string]string {
	paths := make(map[string]string)
	for line := range bytes.Lines(text) {
		parts := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(":"), 3)
		if len(parts) == 3 {
			paths[string(parts[1])] = string(parts[2])
		}
	}
	return paths
}
