package spawn

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// userHZ is the unit of times in /proc/PID/stat; it is the same on all systems that Go runs on.
const userHZ = 100

var pageSize = int64(os.Getpagesize())

// readSchedstat returns how long a thread ran, and how long it waited for a CPU, from /proc/ID/schedstat:
//
//	4136021 261005 42
//
// in nanoseconds, and how often it was scheduled. A file of a process is that of its main thread.
func readSchedstat(id int) (ran, waited time.Duration, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(id) + "/schedstat")
	if err != nil {
		return 0, 0, false
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, 0, false
	}
	a, err1 := strconv.ParseInt(string(fields[0]), 10, 64)
	b, err2 := strconv.ParseInt(string(fields[1]), 10, 64)
	return time.Duration(a), time.Duration(b), err1 == nil && err2 == nil
}

// readProcess returns the CPU time of a process and of its children that it waited for, and the memory that it shares
// with nobody, in bytes. What cannot be read is 0.
func readProcess(pid int) (used time.Duration, memory int64) {
	dir := "/proc/" + strconv.Itoa(pid)
	if text, err := os.ReadFile(dir + "/stat"); err == nil {
		// After the name, which may hold anything, come the state and, from the 12th on, utime, stime, cutime, cstime.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		for i := 11; i < 15 && i < len(fields); i++ {
			ticks, _ := strconv.ParseInt(string(fields[i]), 10, 64)
			used += time.Duration(ticks) * (time.Second / userHZ)
		}
	}
	if text, err := os.ReadFile(dir + "/statm"); err == nil {
		if fields := bytes.Fields(text); len(fields) > 2 {
			resident, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			shared, _ := strconv.ParseInt(string(fields[2]), 10, 64)
			memory = max(0, resident-shared) * pageSize
		}
	}
	return used, memory
}

// withDescendants appends to pids those of what they started, as long as that is less than most. Where the kernel does
// not tell (CONFIG_PROC_CHILDREN) there are none.
func withDescendants(pids []int, most int) []int {
	for i := 0; i < len(pids) && len(pids) < most; i++ {
		id := strconv.Itoa(pids[i])
		text, err := os.ReadFile("/proc/" + id + "/task/" + id + "/children")
		if err != nil {
			continue
		}
		for field := range bytes.FieldsSeq(text) {
			if pid, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
