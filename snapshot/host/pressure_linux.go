package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

// A pressureSource reads the share of time lost to waiting for one resource (PSI): that of this process's cgroup
// where it has a limit in version 2, as the host's tells of others', else that of the host. It is not safe for
// concurrent use.
type pressureSource struct {
	root, proc, cgroup string // see findGroups
	stalled            snapshot.Resource
	host               *kernelFile

	group       *kernelFile // nil for the host's
	groupSource string      // says what group is
	groupsAt    time.Time   // when group was looked for; zero for never

	last   stalls
	from   *kernelFile // what last was read from; nil for nothing
	lastAt time.Time
	shares snapshot.PressureReading // since the reading before; for calls that follow too soon
}

// stalls are the times lost since boot.
type stalls struct {
	some, full uint64 // µs
	hasFull    bool
}

// newPressureSource returns a source that has read nothing yet. For root, proc and cgroup see findGroups.
func newPressureSource(root, proc, cgroup string, stalled snapshot.Resource) *pressureSource {
	s := &pressureSource{root: root, proc: proc, cgroup: cgroup, stalled: stalled}
	s.host = newKernelFile(filepath.Join(proc, "pressure", s.resource()))
	return s
}

// resource returns the kernel's name of the resource.
func (s *pressureSource) resource() string {
	switch s.stalled {
	case snapshot.CPU:
		return "cpu"
	case snapshot.Memory:
		return "memory"
	default:
		return "io"
	}
}

// read returns the shares since its previous call, or errFirst.
func (s *pressureSource) read(_ context.Context, now time.Time) (snapshot.PressureReading, error) {
	if s.groupsAt.IsZero() || now.Sub(s.groupsAt) >= groupsAfter {
		s.findGroup()
		s.groupsAt = now
	}
	file, source := s.host, s.host.name
	if s.group != nil {
		file, source = s.group, s.groupSource
	}
	at := time.Now() // now may be long ago by the time that matters here
	text, err := file.read()
	if err != nil && file == s.group {
		// Its cgroup is gone, or its pressure is switched off.
		s.closeGroup()
		if errors.Is(err, unix.ENODEV) {
			s.groupsAt = time.Time{}
		}
		file, source = s.host, s.host.name
		text, err = file.read()
	}
	if err != nil {
		return snapshot.PressureReading{}, explainPressure(err)
	}
	next, err := parsePressure(text)
	if err != nil {
		return snapshot.PressureReading{}, fmt.Errorf("parse %s: %w", file.name, err)
	}
	if file == s.host && s.stalled == snapshot.CPU {
		// Some task always has the CPU that all wait for. The kernel writes 0 for those who expect a number.
		next.hasFull = false
	}
	if file != s.from {
		s.from, s.last, s.lastAt, s.shares = file, next, at, snapshot.PressureReading{}
		return snapshot.PressureReading{}, errFirst
	}
	passed := at.Sub(s.lastAt)
	if passed >= shortest {
		s.shares = snapshot.PressureReading{
			Stalled:   s.stalled,
			Some:      shareOf(s.last.some, next.some, passed),
			FullKnown: next.hasFull && s.last.hasFull,
			Source:    source,
		}
		if s.shares.FullKnown {
			s.shares.Full = shareOf(s.last.full, next.full, passed)
		}
		s.last, s.lastAt = next, at
	} else if s.shares.Source == "" {
		return snapshot.PressureReading{}, errFirst
	}
	return s.shares, nil
}

// shareOf returns the share of the time passed that µs grew by, in [0, 1]. One that went back counts as none.
func shareOf(before, after uint64, passed time.Duration) float64 {
	if after <= before {
		return 0
	}
	return min(float64(after-before)*float64(time.Microsecond)/float64(passed), 1)
}

// explainPressure says what to do about pressure that the kernel does not tell.
func explainPressure(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: pressure (PSI) needs Linux 4.20 or later, and psi=1 on the kernel command line where it is off by default", err)
	}
	return err
}

// findGroup finds the cgroup whose pressure counts. Where that cannot be told, the host's does.
func (s *pressureSource) findGroup() {
	groups, err := findGroups(s.root, s.proc, s.cgroup, s.controller())
	if err != nil || len(groups) == 0 || groups[0].version != 2 || !isLimited(groups) {
		s.closeGroup()
		return
	}
	leaf := groups[0]
	name := s.resource() + ".pressure"
	file := filepath.Join(leaf.dir, name)
	if s.group != nil && s.group.name == file {
		return
	}
	s.closeGroup()
	s.group, s.groupSource = newKernelFile(file), name+" of "+leaf.path
}

// controller returns the controller whose hierarchy tells the pressure. The controller io need not be on for that.
func (s *pressureSource) controller() string {
	if s.stalled == snapshot.CPU {
		return "cpu"
	}
	return "memory"
}

// isLimited reports whether a cgroup of version 2 has a limit on CPU time or on memory, by itself or by an
// ancestor.
func isLimited(groups []group) bool {
	for _, g := range groups {
		for _, name := range []string{"cpu.max", "memory.max", "memory.high"} {
			text, err := readOnce(newKernelFile(filepath.Join(g.dir, name)))
			if err == nil && !bytes.HasPrefix(text, []byte("max")) {
				return true
			}
		}
	}
	return false
}

func (s *pressureSource) closeGroup() {
	if s.group != nil {
		s.group.close()
		s.group = nil
	}
}

// close releases the files. A later read opens them again.
func (s *pressureSource) close() {
	s.host.close()
	s.closeGroup()
}

// parsePressure parses a file of pressure (Documentation/accounting/psi.rst). The averages move only every two
// seconds; total, in µs, is exact:
//
//	some avg10=0.62 avg60=0.93 avg300=0.64 total=2898485947
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//
// Before Linux 5.13 there was no line full for the CPU.
func parsePressure(text []byte) (stalls, error) {
	var s stalls
	hasSome := false
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		name, rest := cutField(line)
		total, ok := parseTotal(rest)
		switch {
		case !ok:
			return stalls{}, fmt.Errorf("%s has no total", quote(line))
		case string(name) == "some" && !hasSome:
			s.some, hasSome = total, true
		case string(name) == "full" && !s.hasFull:
			s.full, s.hasFull = total, true
		default:
			return stalls{}, fmt.Errorf("%s is neither some nor full, once each", quote(line))
		}
	}
	if !hasSome {
		return stalls{}, errors.New("no line some")
	}
	return s, nil
}

// parseTotal returns the number of the field total, which is the last one.
func parseTotal(fields []byte) (uint64, bool) {
	last := fields[bytes.LastIndexByte(fields, ' ')+1:]
	number, ok := bytes.CutPrefix(last, []byte("total="))
	if !ok {
		return 0, false
	}
	n, ok := digits(number)
	return n, ok && n <= math.MaxInt64
}
