package host

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"
	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

// limitedGroup makes a real cgroup of version 1 with limits on CPU time and memory, where that can be done, removes
// it after the benchmark, and returns its path, and the files that one sample of it reads. Else it returns NoCgroup.
func limitedGroup(b *testing.B) (path string, files []string) {
	b.Helper()
	path = fmt.Sprintf("/headroom-bench-%d", os.Getpid())
	for _, controller := range []string{"cpu", "cpuacct", "memory"} {
		dir := filepath.Join("/sys/fs/cgroup", controller, path)
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Logf("without a cgroup: %v", err)
			return NoCgroup, nil
		}
		b.Cleanup(func() { _ = os.Remove(dir) })
	}
	for name, text := range map[string]string{"cpu/%s/cpu.cfs_quota_us": "50000", "memory/%s/memory.limit_in_bytes": "67108864"} {
		if err := os.WriteFile(filepath.Join("/sys/fs/cgroup", fmt.Sprintf(name, path)), []byte(text), 0); err != nil {
			b.Logf("without a cgroup: %v", err)
			return NoCgroup, nil
		}
	}
	for _, name := range []string{"cpuacct/%s/cpuacct.usage", "memory/%s/memory.usage_in_bytes", "memory/%s/memory.stat"} {
		files = append(files, filepath.Join("/sys/fs/cgroup", fmt.Sprintf(name, path)))
	}
	return path, files
}

// fullSample returns a function that makes one full sample, the scheduler's latency too.
func fullSample(b *testing.B, cgroup string) func() {
	h, err := Open(Config{Scope: snapshot.ScopeHost, Cgroup: cgroup})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	sample, latency := sampler(b, h), schedulerLatency()
	sample() // the first one waits
	return func() {
		sample()
		latency()
	}
}

func schedulerLatency() func() {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	return func() { metrics.Read(sample) }
}

// bareReads returns a function that does nothing but the system calls of a full sample.
func bareReads(b *testing.B, more []string) func() {
	names := append([]string{"/proc/stat", "/proc/loadavg", "/proc/meminfo",
		"/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io"}, more...)
	var fds []int
	for _, name := range names {
		fd, err := openRegular(name)
		if err != nil {
			b.Skip(name, err)
		}
		b.Cleanup(func() { _ = unix.Close(fd) })
		fds = append(fds, fd)
	}
	buf, latency := make([]byte, 16<<10), schedulerLatency()
	return func() {
		for _, fd := range fds {
			reads.Add(1)
			if _, err := unix.Pread(fd, buf, 0); err != nil {
				b.Fatal(err)
			}
		}
		latency()
	}
}

// commonSample returns a function that reads by our sources what gopsutil can read too.
func commonSample(b *testing.B) func() {
	h, err := Open(Config{Scope: snapshot.ScopeHost, Cgroup: NoCgroup})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	sources := h.Sources()
	read := func() {
		if _, err := sources.CPU(b.Context()); err != nil {
			b.Fatal(err)
		}
		if _, err := sources.Memory(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	read() // the first one waits
	return read
}

func gopsutilSample(b *testing.B) func() {
	return func() {
		_, err1 := cpu.Times(false)
		_, err2 := cpu.Times(true)
		_, err3 := mem.VirtualMemory()
		_, err4 := mem.SwapMemory()
		_, err5 := load.Avg()
		for _, err := range []error{err1, err2, err3, err4, err5} {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkSample(b *testing.B) {
	path, files := limitedGroup(b)
	for _, how := range []struct {
		name string
		read func(*testing.B) func()
	}{
		{"full/by=host", func(b *testing.B) func() { return fullSample(b, path) }},
		{"full/by=bare-pread", func(b *testing.B) func() { return bareReads(b, files) }},
		{"cpu+memory+load/by=host", commonSample},
		{"cpu+memory+load/by=gopsutil", gopsutilSample},
	} {
		b.Run(how.name, func(b *testing.B) {
			read := how.read(b)
			b.ReportAllocs()
			before := reads.Load()
			for b.Loop() {
				read()
			}
			if calls := reads.Load() - before; calls > 0 {
				b.ReportMetric(float64(calls)/float64(b.N), "syscalls/op")
			}
		})
	}
}

// BenchmarkRatios makes the same readings in turns, so that what else the machine does falls on all of them, and
// compares the CPU time that they took.
func BenchmarkRatios(b *testing.B) {
	path, files := limitedGroup(b)
	const turn = 64 // readings, to be long beside the clock's own cost
	hows := []struct {
		name string
		read func()
		took time.Duration
	}{
		{name: "full", read: fullSample(b, path)},
		{name: "bare-preads", read: bareReads(b, files)},
		{name: "common", read: commonSample(b)},
		{name: "gopsutil", read: gopsutilSample(b)},
	}
	n := 0
	for b.Loop() {
		for i := range hows {
			how := &hows[i]
			begun := cpuTime(b)
			for range turn {
				how.read()
			}
			how.took += cpuTime(b) - begun
		}
		n += turn
	}
	for _, how := range hows {
		b.ReportMetric(float64(how.took)/float64(n), how.name+"-ns/op")
	}
	b.ReportMetric(float64(hows[0].took)/float64(hows[1].took), "full/bare-preads")
	b.ReportMetric(float64(hows[3].took)/float64(hows[2].took), "gopsutil/common")
}

// cpuTime returns the CPU time of this process, garbage collection included.
func cpuTime(b *testing.B) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
