package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"

	"github.com/headroom-rpc/headroom/snapshot"
)

var errNoTime = errors.New("no time passed between two readings of the CPU times")

// A cpuMeter turns the kernel's growing CPU times into the share in use between two readings, by gopsutil, which
// knows most systems. It knows no limits.
type cpuMeter struct {
	cores float64        // 0 until counted
	last  *cpu.TimesStat // nil until read
}

// read returns the load since its previous call, or errFirst.
func (m *cpuMeter) read(ctx context.Context, _ time.Time) (snapshot.CPUReading, error) {
	if m.cores == 0 {
		// Counted once: the kernel may interrupt every CPU to answer.
		n, err := cpu.CountsWithContext(ctx, true)
		if err != nil {
			return snapshot.CPUReading{}, fmt.Errorf("count the CPUs: %w", err)
		}
		if n < 1 {
			return snapshot.CPUReading{}, errors.New("count the CPUs: found none")
		}
		m.cores = float64(n)
	}
	now, err := readCPUTimes(ctx)
	if err != nil {
		return snapshot.CPUReading{}, err
	}
	if m.last == nil {
		m.last = &now
		return snapshot.CPUReading{}, errFirst
	}
	used, err := usedShare(*m.last, now)
	if err != nil {
		return snapshot.CPUReading{}, err
	}
	m.last = &now
	return snapshot.CPUReading{Used: used, Cores: m.cores, Limit: allCPUs, Source: hostSource}, nil
}

func readCPUTimes(ctx context.Context) (cpu.TimesStat, error) {
	times, err := cpu.TimesWithContext(ctx, false)
	if err != nil {
		return cpu.TimesStat{}, fmt.Errorf("read CPU times: %w", err)
	}
	// gopsutil drops a line that it cannot parse and a file that it cannot open, and says nothing.
	if len(times) != 1 {
		return cpu.TimesStat{}, fmt.Errorf("read CPU times: found %d totals, want 1", len(times))
	}
	return times[0], nil
}

// usedShare returns the share of the time from before to after in which the CPUs were not idle, in [0, 1].
// The formula is that of psutil's cpu_percent. Guest times are left out because Linux counts them in User
// and Nice already. A field that went back counts as no time: the idle times do so on some kernels.
func usedShare(before, after cpu.TimesStat) (float64, error) {
	idle := max(0, after.Idle-before.Idle) + max(0, after.Iowait-before.Iowait)
	busy := max(0, after.User-before.User) +
		max(0, after.Nice-before.Nice) +
		max(0, after.System-before.System) +
		max(0, after.Irq-before.Irq) +
		max(0, after.Softirq-before.Softirq) +
		max(0, after.Steal-before.Steal)
	if idle+busy == 0 {
		return 0, errNoTime
	}
	return busy / (idle + busy), nil
}
