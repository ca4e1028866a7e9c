// Package spawn starts processes and says what they use.
//
// All are started by one thread. On Linux it is placed once, where that is permitted, in a cgroup of its own, and what
// it starts inherits that: nothing is moved, and the cost of starting counts too. One goroutine waits for all of them;
// while a [Spawner] is open nothing else in the process may depend on how a child of it ended.
package spawn

import (
	"errors"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

// ErrClosed is the error of a Spawner that was closed.
var ErrClosed = errors.New("spawn: closed")

// Command says what to start.
type Command struct {
	Path      string   // of the file
	Args, Env []string // Args with the name of the program first

	// Stdin, Stdout and Stderr are the standard files. The process gets them as they are, so that nothing is copied.
	Stdin, Stdout, Stderr *os.File
}

// Exit is how a process ended.
type Exit struct {
	// Code is the exit code, or -1 where a signal ended it.
	Code int

	// Signal is the number of the signal that ended it, or 0.
	Signal int

	// At is when it was seen to have ended.
	At time.Time

	// OutOfMemory is whether the kernel most probably killed it for want of memory: SIGKILL ended it that no
	// [Process.Kill] had sent, and the kernel's count of such kills has risen.
	OutOfMemory bool

	// Left is whether something of its process group still ran then.
	Left bool
}

// Process is one that was started. On Unix it leads a process group. It is safe for concurrent use.
type Process struct {
	// Pid identifies it, and its process group, until Done is closed.
	Pid int

	// Started is when it was.
	Started time.Time

	done   chan struct{}
	exit   Exit
	mu     sync.Mutex // held while a signal is sent, so that none reaches another process with the pid
	gone   bool
	killed bool
}

// Done returns a channel that is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit returns how the process ended. It blocks until then.
func (p *Process) Exit() Exit {
	<-p.done
	return p.exit
}

// Usage is what all processes of a Spawner used, with those that they started as far as the system tells.
type Usage struct {
	// CPU is the time on CPUs, and Runnable the time in which they ran or waited for one, summed over them, since the
	// Spawner was opened; -1 where that is not known.
	CPU, Runnable time.Duration

	// Memory is what they use now, in bytes; -1 where that is not known.
	Memory int64

	// At is when that was.
	At time.Time
}

// A Spawner starts processes. It is safe for concurrent use.
type Spawner struct {
	starts chan start
	closed chan struct{} // closed by Close
	ended  sync.WaitGroup

	starting sync.Mutex // held from before a process is started until it is in running

	mu      sync.Mutex
	some    *sync.Cond // signalled when running is no longer empty, and by Close
	running map[int]*Process
	closing bool

	accounts
}

type start struct {
	command *Command
	result  chan<- started
}

type started struct {
	process *Process
	err     error
}

// Open returns a Spawner. What it could not do for better figures is no error.
func Open() *Spawner {
	s := &Spawner{starts: make(chan start), closed: make(chan struct{}), running: map[int]*Process{}}
	s.some = sync.NewCond(&s.mu)
	ready := make(chan struct{})
	s.ended.Go(func() {
		// Never unlocked: the thread is tied to its processes, and may be in a cgroup, so it ends with the goroutine.
		runtime.LockOSThread()
		s.accounts.open(s.pids)
		close(ready)
		s.startAll()
		s.accounts.leave()
	})
	<-ready
	s.ended.Go(s.waitAll)
	s.ended.Go(func() { s.accounts.sampleAll(s.closed) })
	return s
}

// Start starts a process. It returns once the process runs its program, or could not. Its error is that of the system,
// or ErrClosed.
func (s *Spawner) Start(c *Command) (*Process, error) {
	result := make(chan started, 1)
	select {
	case s.starts <- start{c, result}:
	case <-s.closed:
		return nil, ErrClosed
	}
	r := <-result
	return r.process, r.err
}

func (s *Spawner) startAll() {
	for {
		select {
		case next := <-s.starts:
			p, err := s.start(next.command)
			next.result <- started{p, err}
		case <-s.closed:
			return
		}
	}
}

func (s *Spawner) start(c *Command) (*Process, error) {
	s.starting.Lock()
	defer s.starting.Unlock()
	p := &Process{Started: time.Now(), done: make(chan struct{})}
	if err := p.start(c, &s.accounts); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.running[p.Pid] = p
	s.awaitEndLocked(p)
	closing := s.closing
	s.mu.Unlock()
	if closing {
		p.Kill()
	}
	return p, nil
}

// Busy reports whether a process runs that was started.
func (s *Spawner) Busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running) > 0
}

// KillAll kills all that runs, and what it started as far as the system can tell. What is started meanwhile may live on,
// and what is started later may be killed at once: in a cgroup that was killed some kernels let nothing begin.
func (s *Spawner) KillAll() {
	for _, p := range s.processes() {
		p.Kill()
	}
	s.accounts.killAll()
}

// Close kills what still runs, waits for its end, and leaves no cgroup behind. What the processes left running in the
// background goes on.
func (s *Spawner) Close() {
	s.mu.Lock()
	closing := s.closing
	s.closing = true
	s.some.Signal()
	s.mu.Unlock()
	if closing {
		return
	}
	for _, p := range s.processes() {
		p.Kill()
	}
	close(s.closed)
	s.ended.Wait()
}

func (s *Spawner) processes() []*Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.running))
}

// pids returns those of the processes that run, in order.
func (s *Spawner) pids() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.running))
}
