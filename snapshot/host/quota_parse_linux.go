package host

import (
	"fmt"
	"math"
)

// cpuStat is what the file cpu.stat of a cgroup says.
type cpuStat struct {
	used     uint64 // µs of CPU time, where hasUsed is true: version 2
	hasUsed  bool
	quotaUse // where hasQuota is true: the controller is there
	hasQuota bool
}

// quotaUse counts the periods of a quota in which the cgroup ran, and those in which it was throttled.
type quotaUse struct{ periods, throttled uint64 }

// parseCPUStat parses the file cpu.stat of a cgroup (Documentation/admin-guide/cgroup-v2.rst and
// scheduler/sched-bwc.rst). In version 1 it begins with nr_periods:
//
//	usage_usec 26563
//	nr_periods 13
//	nr_throttled 11
func parseCPUStat(text []byte) (cpuStat, error) {
	var stat cpuStat
	var hasPeriods, hasThrottled bool
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		name, rest := cutField(line)
		var into *uint64
		var has *bool
		switch string(name) {
		case "usage_usec":
			into, has = &stat.used, &stat.hasUsed
		case "nr_periods":
			into, has = &stat.periods, &hasPeriods
		case "nr_throttled":
			into, has = &stat.throttled, &hasThrottled
		default:
			continue
		}
		field, rest := cutField(rest)
		n, ok := digits(field)
		if !ok || len(rest) > 0 || n > math.MaxInt64 || *has {
			return cpuStat{}, fmt.Errorf("%s is no line of cpu.stat", quote(line))
		}
		*into, *has = n, true
	}
	if hasPeriods != hasThrottled {
		return cpuStat{}, fmt.Errorf("of nr_periods and nr_throttled only one")
	}
	stat.hasQuota = hasPeriods
	return stat, nil
}

// parseCPUMax parses the file cpu.max of a cgroup: the µs of CPU time in each period of so many µs, or max. It
// returns CPUs; 0 is no limit.
//
//	50000 100000
func parseCPUMax(text []byte) (float64, error) {
	line, rest := cutLine(text)
	quota, period := cutField(line)
	period, more := cutField(period)
	µs, ok := digits(period)
	if !ok || µs == 0 || len(more) > 0 || len(rest) > 0 {
		return 0, fmt.Errorf("%s is no quota and period", quote(text))
	}
	if string(quota) == "max" {
		return 0, nil
	}
	n, ok := digits(quota)
	if !ok || n == 0 {
		return 0, fmt.Errorf("%s is no quota and period", quote(text))
	}
	return float64(n) / float64(µs), nil
}

// parseCFSQuota parses the file cpu.cfs_quota_us of a cgroup: µs of CPU time, or -1 for no limit, here 0.
func parseCFSQuota(text []byte) (uint64, error) {
	line, rest := cutLine(text)
	if string(line) == "-1" && len(rest) == 0 {
		return 0, nil
	}
	n, ok := digits(line)
	if !ok || n == 0 || len(rest) > 0 {
		return 0, fmt.Errorf("%s is no quota in µs", quote(text))
	}
	return n, nil
}

// parseCount parses a file that holds one number, such as cpu.cfs_period_us and cpuacct.usage.
func parseCount(text []byte) (uint64, error) {
	line, rest := cutLine(text)
	n, ok := digits(line)
	if !ok || len(rest) > 0 {
		return 0, fmt.Errorf("%s is no number", quote(text))
	}
	return n, nil
}
