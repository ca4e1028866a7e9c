package host

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// maxCPUs bounds the numbers of the CPUs; Linux has at most 8,192 of them.
const maxCPUs = 1 << 16

// cpuTimes are the times of one CPU or of all since boot, in clock ticks of 10 ms, in the order of /proc/stat. The
// times of guests, which come after these, are in user and nice already.
type cpuTimes [8]uint64

const (
	tickUser = iota
	tickNice
	tickSystem
	tickIdle
	tickIOWait
	tickIRQ
	tickSoftIRQ
	tickSteal
)

// since returns the times that passed. A field that went back counts as no time: idle and iowait do so on some
// kernels.
func (t *cpuTimes) since(before *cpuTimes) (passed cpuTimes) {
	for i := range t {
		if t[i] > before[i] {
			passed[i] = t[i] - before[i]
		}
	}
	return passed
}

func (t *cpuTimes) add(more *cpuTimes) {
	for i := range t {
		t[i] += more[i]
	}
}

// sum returns all of it and what was not idle. Waiting for I/O is idle, as another task could have run; what the
// hypervisor took is not, as none could.
func (t *cpuTimes) sum() (all, busy float64) {
	for _, n := range t {
		all += float64(n)
	}
	return all, all - float64(t[tickIdle]) - float64(t[tickIOWait])
}

// statTimes are the CPU times of one reading of /proc/stat.
type statTimes struct {
	total  cpuTimes
	cpus   []cpuTimes // by their number
	online []bool     // which of cpus are there
	count  int        // how many
}

// parse parses the lines of /proc/stat that begin with cpu (proc_stat(5)), and stops after them:
//
//	cpu  720565 86024 212194 1263657 9677 0 7223 955 0 0
//	cpu0 358213 42213 103006 640795 2183 0 3306 431 0 0
//
// The fields are user, nice, system, idle, iowait, irq, softirq and steal, the last four of which old kernels lack,
// then guest and guest_nice. A CPU that is offline has no line. It allocates only where there are more CPUs than
// ever before.
func (s *statTimes) parse(text []byte) error {
	for i := range s.online {
		s.online[i] = false
	}
	s.count = 0
	line, text := cutLine(text)
	name, fields := cutField(line)
	if string(name) != "cpu" {
		return fmt.Errorf("%s is no total of the CPUs", quote(line))
	}
	if err := s.total.parse(fields); err != nil {
		return fmt.Errorf("%s: %w", quote(line), err)
	}
	for {
		line, text = cutLine(text)
		name, fields = cutField(line)
		number, ok := bytes.CutPrefix(name, []byte("cpu"))
		if !ok {
			break
		}
		n, ok := digits(number)
		if !ok || n >= maxCPUs {
			return fmt.Errorf("%s is no CPU from 0 to %d", quote(line), maxCPUs-1)
		}
		cpu := int(n)
		for len(s.cpus) <= cpu {
			s.cpus, s.online = append(s.cpus, cpuTimes{}), append(s.online, false)
		}
		if s.online[cpu] {
			return fmt.Errorf("%s: twice", quote(line))
		}
		if err := s.cpus[cpu].parse(fields); err != nil {
			return fmt.Errorf("%s: %w", quote(line), err)
		}
		s.online[cpu] = true
		s.count++
	}
	if s.count == 0 {
		return errors.New("no CPU")
	}
	return nil
}

var errCPUTimes = errors.New("want at least 4 numbers of clock ticks")

// parse takes the numbers that are there. What comes after those it has room for is not looked at.
func (t *cpuTimes) parse(fields []byte) error {
	*t = cpuTimes{}
	at := 0
	for i := range t {
		for at < len(fields) && fields[at] == ' ' {
			at++
		}
		if at == len(fields) && i >= 4 {
			return nil
		}
		from, n := at, uint64(0)
		for at < len(fields) && fields[at]-'0' <= 9 {
			n = n*10 + uint64(fields[at]-'0')
			at++
		}
		const longest = 18 // digits that always fit
		if at == from || at-from > longest || at < len(fields) && fields[at] != ' ' {
			return errCPUTimes
		}
		t[i] = n
	}
	return nil
}

// copyTo copies the reading, without allocating where that has held as many CPUs before.
func (s *statTimes) copyTo(to *statTimes) {
	to.total, to.count = s.total, s.count
	to.cpus = append(to.cpus[:0], s.cpus...)
	to.online = append(to.online[:0], s.online...)
}

// loadavg is what /proc/loadavg says.
type loadavg struct {
	load     float64 // over one minute
	runnable int64   // tasks that run or could run, the one that reads too
}

// parseLoadavg parses /proc/loadavg (proc_loadavg(5)):
//
//	0.55 0.18 0.49 1/95 7219
//
// The fields are the load over 1, 5 and 15 minutes, the tasks that are runnable and those that exist, and the
// newest pid.
func parseLoadavg(text []byte) (loadavg, error) {
	line, _ := cutLine(text)
	one, rest := cutField(line)
	_, rest = cutField(rest)
	_, rest = cutField(rest)
	tasks, _ := cutField(rest)
	load, ok := hundredths(one)
	slash := bytes.IndexByte(tasks, '/')
	if !ok || slash < 0 {
		return loadavg{}, fmt.Errorf("%s is no load average", quote(text))
	}
	runnable, ok := digits(tasks[:slash])
	if _, whole := digits(tasks[slash+1:]); !ok || !whole || runnable > math.MaxInt32 {
		return loadavg{}, fmt.Errorf("%s is no load average", quote(text))
	}
	return loadavg{load: load, runnable: int64(runnable)}, nil
}

// hundredths parses a number with two decimals, such as 0.55.
func hundredths(text []byte) (float64, bool) {
	point := bytes.IndexByte(text, '.')
	if point < 0 || len(text) != point+3 {
		return 0, false
	}
	whole, ok1 := digits(text[:point])
	part, ok2 := digits(text[point+1:])
	if !ok1 || !ok2 || whole > math.MaxInt32 {
		return 0, false
	}
	return float64(whole*100+part) / 100, true
}

// parseCPUList parses a list of CPUs, as in the files of a cpuset, with or without the line's end:
//
//	0-3,8
//
// It sets those of the list in set and clears the others, growing set as needed, and returns it.
func parseCPUList(text []byte, set []bool) ([]bool, error) {
	clear(set)
	line, rest := cutLine(text)
	if len(rest) > 0 {
		return set, fmt.Errorf("%s is no list of CPUs", quote(text))
	}
	for len(line) > 0 {
		part := line
		if comma := bytes.IndexByte(line, ','); comma >= 0 {
			part, line = line[:comma], line[comma+1:]
			if len(line) == 0 {
				return set, fmt.Errorf("%s is no list of CPUs", quote(text))
			}
		} else {
			line = nil
		}
		first, last, isRange := bytes.Cut(part, []byte("-"))
		if !isRange {
			last = first
		}
		from, ok1 := digits(first)
		to, ok2 := digits(last)
		if !ok1 || !ok2 || from > to || to >= maxCPUs {
			return set, fmt.Errorf("%s is no list of CPUs from 0 to %s", quote(text), strconv.Itoa(maxCPUs-1))
		}
		for uint64(len(set)) <= to {
			set = append(set, false)
		}
		for cpu := from; cpu <= to; cpu++ {
			set[cpu] = true
		}
	}
	return set, nil
}

// cutField returns the first of the fields in text, which spaces and tabs separate, and what follows.
func cutField(text []byte) (field, rest []byte) {
	from := 0
	for from < len(text) && (text[from] == ' ' || text[from] == '\t') {
		from++
	}
	to := from
	for to < len(text) && text[to] != ' ' && text[to] != '\t' {
		to++
	}
	return text[from:to], text[to:]
}
