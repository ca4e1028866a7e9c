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
	samples  [6]metrics.Sample
	baseline int64 // memory before the tasks
	newest   reading
}

const (
	sampleTotal = iota
	sampleReleased
	sampleFree
	sampleLimit
	sampleRunnable
	sampleRunning
)

func newSensors() *sensors {
	s := &sensors{}
	s.samples[sampleTotal].Name = "/memory/classes/total:bytes"
	s.samples[sampleReleased].Name = "/memory/classes/heap/released:bytes"
	s.samples[sampleFree].Name = "/memory/classes/heap/free:bytes"
	s.samples[sampleLimit].Name = "/gc/gomemlimit:bytes"
	s.samples[sampleRunnable].Name = "/sched/goroutines/runnable:goroutines"
	s.samples[sampleRunning].Name = "/sched/goroutines/running:goroutines"
	s.baseline = s.read().used()
	return s
}

// reading is what the Go runtime tells. What is negative is not known.
type reading struct {
	held     int64   // memory from the system
	idle     int64   // of that what nothing uses, where the runtime gives it back before GOMEMLIMIT is reached
	runnable float64 // goroutines that run or could, without the one that reads
	most     int64   // GOMEMLIMIT; 0 for none
}

// used is the memory in use, or negative.
func (r *reading) used() int64 {
	if r.held < 0 {
		return -1
	}
	return r.held - r.idle
}

func (s *sensors) read() *reading {
	metrics.Read(s.samples[:])
	r := reading{held: -1, runnable: -1, most: s.most()}
	if held := s.value(sampleTotal) - s.value(sampleReleased); held >= 0 {
		r.held = int64(held)
		if free := s.value(sampleFree); free >= 0 && r.most > 0 {
			r.idle = min(r.held, int64(free))
		}
	}
	if n := s.value(sampleRunnable) + s.value(sampleRunning); n >= 0 {
		r.runnable = max(0, n-1)
	}
	s.newest = r
	return &s.newest
}

// usage is that of tasks that are goroutines of this process. Until a collection their garbage counts as well.
func (s *sensors) usage() Usage {
	r := s.read()
	u := Usage{CPU: processCPU(), Runnable: r.runnable, Memory: -1}
	if used := r.used(); used >= 0 {
		u.Memory = max(0, used-s.baseline)
	}
	return u
}

// host is what this process knows of the machine by itself, where own is what its tasks use: as if there were nobody
// else.
func (s *sensors) host(own Usage) Host {
	h := Host{Cores: float64(runtime.GOMAXPROCS(0)), Busy: own.CPU, RunQueue: own.Runnable, Stalled: -1}
	if most := s.newest.most; most > 0 {
		if used := s.newest.used(); used >= 0 {
			h.MemoryUsed, h.MemoryTotal = used, most
		}
	}
	return h
}

// value returns what was read last; it is not a number where that is not known.
func (s *sensors) value(i int) float64 {
	if s.samples[i].Value.Kind() != metrics.KindUint64 {
		return math.NaN()
	}
	return float64(s.samples[i].Value.Uint64())
}

// most returns GOMEMLIMIT, or 0 where there is none.
func (s *sensors) most() int64 {
	if most := s.value(sampleLimit); most < math.MaxInt64 {
		return int64(most)
	}
	return 0
}

// observers count themselves among the runnable: the one that reads, and the thread of the runtime that its return
// from sleep wakes.
const observers = 2
