package pool

import (
	"math"
	"runtime"
	"runtime/metrics"
	"time"
)

// Usage is what the tasks of a pool use. What is negative is not known.
type Usage struct {
	// CPU is the CPU time that they have used since the program began, those that ended too.
	CPU time.Duration

	// Runnable is how many of them run or wait for a CPU now.
	Runnable float64

	// Memory is what they use now, in bytes.
	Memory int64

	// Kills counts the tasks that the kernel killed for want of memory, ever; 0 where that is not known. It is not asked
	// where there is a Host, which tells that too.
	Kills int64

	// Age is how long ago that was.
	Age time.Duration
}

// Host is what is seen of the machine, or of the cgroup within whose limits the tasks run. What is negative is not
// known.
type Host struct {
	// Cores is the capacity of the CPUs, fractional under a quota; 0 is not known.
	Cores float64

	// Busy is the CPU time used since some instant, by the tasks and by others.
	Busy time.Duration

	// RunQueue is how many tasks run or wait for a CPU now, of the pool and of others, without whoever counts them.
	RunQueue float64

	// MemoryUsed is the memory in use now, by the tasks and by others, of MemoryTotal, in bytes. A total of 0 is not
	// known.
	MemoryUsed, MemoryTotal int64

	// Stalled is the time since some instant in which some task waited for memory.
	Stalled time.Duration

	// Kills counts the tasks that the kernel killed for want of memory; 0 where that is not known.
	Kills int64
}

// sensors read what the Go runtime and the operating system tell a process of itself, without blocking: a system call
// that blocks would keep a processor from the tasks for as long as the runtime takes to notice.
type sensors struct {
	samples  [4]metrics.Sample
	baseline int64 // memory before the tasks
}

const (
	sampleTotal = iota
	sampleReleased
	sampleRunnable
	sampleRunning
)

func newSensors() *sensors {
	s := &sensors{}
	s.samples[sampleTotal].Name = "/memory/classes/total:bytes"
	s.samples[sampleReleased].Name = "/memory/classes/heap/released:bytes"
	s.samples[sampleRunnable].Name = "/sched/goroutines/runnable:goroutines"
	s.samples[sampleRunning].Name = "/sched/goroutines/running:goroutines"
	s.baseline = s.read().memory
	return s
}

// reading is what the Go runtime tells. What is negative is not known.
type reading struct {
	memory   int64   // from the system
	runnable float64 // goroutines that run or could, without the one that reads
}

func (s *sensors) read() reading {
	metrics.Read(s.samples[:])
	value := func(i int) float64 {
		if s.samples[i].Value.Kind() != metrics.KindUint64 {
			return math.NaN()
		}
		return float64(s.samples[i].Value.Uint64())
	}
	r := reading{memory: -1, runnable: -1}
	if held := value(sampleTotal) - value(sampleReleased); held >= 0 {
		r.memory = int64(held)
	}
	if n := value(sampleRunnable) + value(sampleRunning); n >= 0 {
		r.runnable = max(0, n-1)
	}
	return r
}

// usage is that of tasks that are goroutines of this process.
func (s *sensors) usage() Usage {
	r := s.read()
	u := Usage{CPU: processCPU(), Runnable: r.runnable, Memory: -1}
	if r.memory >= 0 {
		u.Memory = max(0, r.memory-s.baseline)
	}
	return u
}

// host is what this process knows of the machine by itself, where own is what its tasks use: as if there were nobody
// else.
func (s *sensors) host(own Usage) Host {
	h := Host{Cores: float64(runtime.GOMAXPROCS(0)), Busy: own.CPU, RunQueue: own.Runnable, Stalled: -1}
	if most := memoryLimit(); most > 0 {
		if r := s.read(); r.memory >= 0 {
			h.MemoryUsed, h.MemoryTotal = r.memory, most
		}
	}
	return h
}

// memoryLimit returns GOMEMLIMIT, or 0 where there is none.
func memoryLimit() int64 {
	sample := []metrics.Sample{{Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 || sample[0].Value.Uint64() >= math.MaxInt64 {
		return 0
	}
	return int64(sample[0].Value.Uint64())
}

// observers count themselves among the runnable: the one that reads, and the thread of the runtime that its return
// from sleep wakes.
const observers = 2
