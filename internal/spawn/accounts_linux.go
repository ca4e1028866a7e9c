package spawn

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// The pause between two looks at what is used is drawn from this range, so as not to beat with anybody's tick.
	shortestPause = 60 * time.Millisecond
	longestPause  = 140 * time.Millisecond

	// lookEvery is how many looks there are for each at single threads. These cost some 10 us a thread.
	lookEvery = 3

	// mostLooks bounds the threads that are looked at at once; where there are more they take turns.
	mostLooks = 100

	// endPause is the least time between two unknown processes that are looked at when they have ended.
	endPause = 5 * time.Millisecond

	// delayMemory is the weight that what was seen before keeps at each look at single threads.
	delayMemory = 0.75
)

// accounts is what is known of the use of CPU and memory. How long threads waited for a CPU the kernel tells only of
// each by itself, in /proc/ID/schedstat, also of one that has ended and was not waited for yet. So it is the CPU time
// of all, which is exact, times the proportion of waiting to running in a sample: what ended, and up to 100 that run,
// in turns. A count of what is runnable now (/proc/loadavg) would have in it this reader and all other work of the host.
type accounts struct {
	groups   groups
	byCPU    bool // whether a cgroup tells the CPU time
	byMemory bool // and the memory
	inside   bool // a process was started in the cgroup of version 2
	base     time.Duration
	before   int64        // kills before the Spawner was opened
	running  func() []int // the pids of what runs

	usage atomic.Pointer[Usage]

	mu       sync.Mutex
	told     int64         // kills of before and those that were told of
	finished time.Duration // the CPU time of what was waited for
	threads  map[int]*thread
	gone     map[int]struct{} // those that ended since the last look began
	turn     int              // among the threads where there are too many
	lastEnd  time.Time
	ran      float64 // in the sample, seconds, of which older ones count less
	waited   float64
}

// thread is what was seen of one when it was looked at last.
type thread struct {
	ran, waited time.Duration
	used        time.Duration // the CPU time of its process, and of the ended children of that
	memory      int64         // of its process
}

// open is called by the thread that starts processes.
func (a *accounts) open(running func() []int) {
	a.running = running
	a.threads, a.gone = map[int]*thread{}, map[int]struct{}{}
	a.groups = newGroups()
	a.groups.thread = unix.Gettid()
	a.before = a.groups.kills()
	a.told = a.before
	a.base, a.byCPU = a.groups.used() // of an earlier process with the pid
	_, a.byMemory = a.groups.workingSet()
	a.usage.Store(&Usage{At: time.Now()})
}

func (a *accounts) leave() { a.groups.leave() }

func (a *accounts) killAll() { a.groups.kill() }

// fork calls start with what places the process in the cgroup of version 2, and without it where the kernel refuses that.
// It is called by one thread.
func (a *accounts) fork(start func(*syscall.SysProcAttr) (int, error)) (int, error) {
	// The kernel kills the process when the thread ends that starts it.
	bare := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if a.groups.folder == nil {
		return start(bare)
	}
	pid, err := start(&syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(a.groups.folder.Fd()),
	})
	if err == nil || a.inside && a.groups.there() {
		a.inside = true
		return pid, err
	}
	return start(bare) // somebody may have removed it, for whom no process has this pid
}

// ending looks at a process that has ended and was not waited for. One in a while is enough, but what is known of it
// must be brought to an end.
func (a *accounts) ending(pid int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone[pid] = struct{}{}
	now := time.Now()
	if a.threads[pid] == nil && now.Sub(a.lastEnd) < endPause {
		return
	}
	a.lastEnd = now
	if ran, waited, ok := readSchedstat(pid); ok {
		a.addLocked(pid, ran, waited)
	}
	delete(a.threads, pid)
}

// ended counts a process that was waited for, with all it had waited for itself.
func (a *accounts) ended(used time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finished += used
}

// killsRose reports whether the kernel killed a process for want of memory that was not reported yet.
func (a *accounts) killsRose() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.groups.kills() <= a.told {
		return false
	}
	a.told++
	return true
}

// addLocked adds what a thread did since it was looked at last to the sample.
func (a *accounts) addLocked(id int, ran, waited time.Duration) *thread {
	t := a.threads[id]
	if t == nil {
		t = &thread{}
		a.threads[id] = t
	}
	a.ran += max(0, ran-t.ran).Seconds()
	a.waited += max(0, waited-t.waited).Seconds()
	t.ran, t.waited = ran, waited
	return t
}

// sampleAll looks at what is used again and again until closed is.
func (a *accounts) sampleAll(closed <-chan struct{}) {
	for n := 0; ; n++ {
		pause := time.NewTimer(shortestPause + rand.N(longestPause-shortestPause))
		select {
		case <-pause.C:
			if n%lookEvery == 0 {
				a.lookAtThreads()
			}
			a.count()
		case <-closed:
			pause.Stop()
			return
		}
	}
}

// lookAtThreads looks at some of the threads, and forgets those that are no longer there. On a loaded machine it may
// take long, and so it reads without the lock.
func (a *accounts) lookAtThreads() {
	a.mu.Lock()
	clear(a.gone)
	a.mu.Unlock()
	ids, ok := a.groups.threads()
	if !ok {
		ids = withDescendants(a.running(), mostLooks)
	}
	looks := make(map[int]thread, mostLooks)
	for i := range min(len(ids), mostLooks) {
		id := ids[(a.turn+i)%len(ids)]
		var t thread
		if t.ran, t.waited, ok = readSchedstat(id); !ok {
			continue
		}
		if !a.byCPU || !a.byMemory {
			t.used, t.memory = readProcess(id)
		}
		looks[id] = t
	}
	a.turn += mostLooks

	a.mu.Lock()
	defer a.mu.Unlock()
	a.ran, a.waited = a.ran*delayMemory, a.waited*delayMemory
	for id, seen := range looks {
		if _, gone := a.gone[id]; !gone {
			t := a.addLocked(id, seen.ran, seen.waited)
			t.used, t.memory = seen.used, seen.memory
		}
	}
	there := make(map[int]struct{}, len(ids))
	for _, id := range ids {
		there[id] = struct{}{}
	}
	for id := range a.threads {
		if _, ok := there[id]; !ok {
			delete(a.threads, id)
		}
	}
}

// count brings the usage up to date.
func (a *accounts) count() {
	next := *a.usage.Load()
	next.At = time.Now()
	total, known := a.groups.used()
	memory, counted := a.groups.workingSet()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case known:
		total -= a.base
	default:
		total = a.finished
		for _, t := range a.threads {
			total += t.used
		}
	}
	if !counted {
		memory = 0
		for _, t := range a.threads {
			memory += t.memory
		}
	}
	passed := max(0, total-next.CPU) // what ended may for a moment count less than while it ran
	delay := 0.0
	if a.ran > 0 {
		delay = a.waited / a.ran
	}
	next.CPU += passed
	next.Runnable += passed + time.Duration(delay*float64(passed))
	next.Memory = memory
	a.usage.Store(&next)
}

// Usage returns what is used, as of some 100 ms ago while the sampler gets a CPU. It does not block.
func (a *accounts) Usage() Usage { return *a.usage.Load() }

// Kills counts the processes that the kernel killed for want of memory since the Spawner was opened: its own where the
// system tells those apart, else all of the cgroup that this process is in, or of the host.
func (a *accounts) Kills() int64 { return max(0, a.groups.kills()-a.before) }
