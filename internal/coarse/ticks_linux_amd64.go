package coarse

import (
	"os"
	"strings"
	"syscall"
	"time"
)

// ticks returns the time stamp counter.
func ticks() uint64

// clocksource names what the kernel tells the time by.
const clocksource = "/sys/devices/system/clocksource/clocksource0/current_clocksource"

// counted reports whether ticks goes with the clock that tells that it is now.
func counted(now time.Time) bool {
	var real syscall.Timeval
	if syscall.Gettimeofday(&real) != nil || now.Sub(time.Unix(real.Unix())).Abs() > time.Minute {
		return false // the clock of a bubble, which is moved by its own rules
	}
	name, err := os.ReadFile(clocksource)
	return err == nil && strings.TrimSpace(string(name)) == "tsc"
}
