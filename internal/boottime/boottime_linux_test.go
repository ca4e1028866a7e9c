package boottime_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/boottime"
)

// The kernel prints the same clock in the first field of /proc/uptime, cut to hundredths of a second. The
// monotonic clock would fail here by the time that the machine has been suspended since it booted.
func TestNowIsUptime(t *testing.T) {
	before := boottime.Now()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	after := boottime.Now()
	field, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(field, 64)
	if err != nil {
		t.Fatal(err)
	}
	uptime := time.Duration(seconds * float64(time.Second))
	if uptime < before-10*time.Millisecond || uptime > after+time.Millisecond {
		t.Errorf("/proc/uptime = %v, want within 10 ms before %v to %v", uptime, before, after)
	}
}
