package host

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// noLimit stands for no limit at all.
const noLimit = math.MaxInt64

// hostMemoryInfo is what /proc/meminfo says, in bytes.
type hostMemoryInfo struct {
	total, available   int64
	swapTotal, swapUse int64
	swapKnown          bool
}

// parseMeminfo parses /proc/meminfo (proc_meminfo(5)):
//
//	MemTotal:       24684096 kB
//
// A kernel before Linux 3.14 does not estimate what is available: then it is what is free and what can be
// dropped, the page cache without shared memory and the slabs that can be reclaimed. More available than there
// is counts as all, since some containers rewrite one of the two only. What follows the last line that is needed
// is not looked at.
func parseMeminfo(text []byte) (hostMemoryInfo, error) {
	const absent = -1
	var (
		total, free, available = int64(absent), int64(absent), int64(absent)
		swapTotal, swapFree    = int64(absent), int64(absent)
		buffers, cached        int64
		reclaimable, shared    int64
	)
	for len(text) > 0 && (total == absent || available == absent || swapTotal == absent || swapFree == absent) {
		var line []byte
		line, text = cutLine(text)
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			continue
		}
		var into *int64
		switch string(line[:colon]) {
		case "MemTotal":
			into = &total
		case "MemFree":
			into = &free
		case "MemAvailable":
			into = &available
		case "Buffers":
			into = &buffers
		case "Cached":
			into = &cached
		case "Shmem":
			into = &shared
		case "SReclaimable":
			into = &reclaimable
		case "SwapTotal":
			into = &swapTotal
		case "SwapFree":
			into = &swapFree
		default:
			continue
		}
		number, ok := bytes.CutSuffix(bytes.TrimLeft(line[colon+1:], " "), []byte(" kB"))
		kb, isNumber := digits(number)
		if !ok || !isNumber || kb > math.MaxInt64>>14 {
			return hostMemoryInfo{}, fmt.Errorf("%s is no amount of kB", quote(line))
		}
		*into = int64(kb) << 10
	}
	if total <= 0 {
		return hostMemoryInfo{}, errors.New("no MemTotal")
	}
	if available == absent {
		if free == absent {
			return hostMemoryInfo{}, errors.New("neither MemAvailable nor MemFree")
		}
		available = free + max(buffers+cached-shared, 0) + reclaimable
	}
	info := hostMemoryInfo{total: total, available: min(available, total)}
	if swapTotal != absent && swapFree != absent {
		info.swapTotal, info.swapUse, info.swapKnown = swapTotal, max(swapTotal-swapFree, 0), true
	}
	return info, nil
}

// memoryStat is what the file memory.stat of a cgroup says, in bytes.
type memoryStat struct {
	inactiveFile int64 // page cache that has not been used lately, of the cgroup and those below it

	// The swap in use, of version 1, where swapKnown is true.
	swap      int64
	swapKnown bool

	// The least limits of the cgroup and all its ancestors, seen or not; noLimit in version 2, which does not
	// say, and where there is none.
	limit, swapLimit int64
}

// parseMemoryStat parses the file memory.stat of a cgroup (Documentation/admin-guide/cgroup-v2.rst, and
// cgroup-v1/memory.rst, where the amounts of a whole subtree begin with total_):
//
//	inactive_file 12288
func parseMemoryStat(text []byte, version int) (memoryStat, error) {
	inactive := "inactive_file"
	if version == 1 {
		inactive = "total_inactive_file"
	}
	const absent = -1
	stat := memoryStat{inactiveFile: absent, swap: absent, limit: noLimit, swapLimit: noLimit}
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		space := max(bytes.IndexByte(line, ' '), 0)
		var into *int64
		switch key := string(line[:space]); {
		case key == inactive:
			into = &stat.inactiveFile
		case version == 1 && key == "total_swap":
			into = &stat.swap
		case version == 1 && key == "hierarchical_memory_limit":
			into = &stat.limit
		case version == 1 && key == "hierarchical_memsw_limit":
			into = &stat.swapLimit
		default:
			continue
		}
		n, ok := digits(line[space+1:])
		if !ok {
			return memoryStat{}, fmt.Errorf("%s is no amount of bytes", quote(line))
		}
		*into = int64(min(n, noLimit))
	}
	if stat.inactiveFile == absent {
		return memoryStat{}, fmt.Errorf("no line %s", inactive)
	}
	stat.swap, stat.swapKnown = max(stat.swap, 0), stat.swap != absent
	stat.limit, stat.swapLimit = max(stat.limit, 1), max(stat.swapLimit, 1) // as in parseLimit
	return stat, nil
}

// parseLimit parses a file that holds a limit in bytes: "max" is none in version 2, and a number near 2⁶³ or 2⁶⁴
// in version 1. A limit of nothing becomes one byte, so that there is a share of it.
func parseLimit(text []byte) (int64, error) {
	line, rest := cutLine(text)
	if string(line) == "max" && len(rest) == 0 {
		return noLimit, nil
	}
	n, ok := digits(line)
	if !ok || len(rest) > 0 {
		return 0, fmt.Errorf("%s is no limit in bytes", quote(text))
	}
	return int64(min(max(n, 1), noLimit)), nil
}

// parseUsage parses a file that holds an amount in use, in bytes.
func parseUsage(text []byte) (int64, error) {
	line, rest := cutLine(text)
	n, ok := digits(line)
	if !ok || len(rest) > 0 || n > math.MaxInt64 {
		return 0, fmt.Errorf("%s is no amount of bytes", quote(text))
	}
	return int64(n), nil
}

// cutLine returns the first line of text, without its end, and what follows.
func cutLine(text []byte) (line, rest []byte) {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return text[:i], text[i+1:]
	}
	return text, nil
}

// digits parses an unsigned decimal number that is all of text.
func digits(text []byte) (n uint64, ok bool) {
	if len(text) == 0 || len(text) > 20 {
		return 0, false
	}
	for _, c := range text {
		d := uint64(c - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
