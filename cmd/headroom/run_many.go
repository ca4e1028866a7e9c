package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/jobs"
	"github.com/headroom-rpc/headroom/internal/spawn"
	"github.com/headroom-rpc/headroom/pool"
)

// The bounds of what is read ahead of the commands that run.
const (
	mostWaiting      = 100_000
	mostWaitingBytes = 16 << 20
)

// many is `headroom run` with many commands.
type many struct {
	flags     *manyFlags
	plan      *plan
	killAfter time.Duration
	share     *share
	groups    *groupTable // of what runs, for the watchdog
	stderr    io.Writer

	environ  []string
	null     *os.File
	spawner  *spawn.Spawner
	output   output
	log      *jobLog
	skip     func(seq int64) bool
	progress *progress
	group    *pool.Group
	commands commands
	slots    slots
	running  atomic.Int64
	still    standstill
	noRoom   sync.Once     // is told
	noneFits sync.Once     // is told
	halted   chan struct{} // closed when what runs is to be ended

	mu        sync.Mutex
	room      *sync.Cond // signalled when less waits, and when no more is started
	waiting   int        // jobs
	bytes     int        // of their arguments
	submitted int64
	ended     bool // all arguments were read
	done      int64
	failed    int64
	over      bool // no more is started
	met       bool // because the rule of --halt was met
	wrong     error
}

// runAll runs all commands. options are those of the pool but for what concerns the commands.
func (m *many) runAll(ctx context.Context, stdout io.Writer, options pool.Options, signals <-chan os.Signal) (err error) {
	m.room = sync.NewCond(&m.mu)
	m.halted = make(chan struct{})
	m.environ = slices.DeleteFunc(os.Environ(), ofAnotherRun)
	if m.null, err = os.Open(os.DevNull); err != nil {
		return &exitError{exitRun, err}
	}
	defer m.null.Close()
	if onTerminal(m.stderr) && !m.flags.ungroup {
		m.progress = newProgress(m.stderr, m.state)
	}
	stdout, m.stderr = m.progress.over(stdout), m.progress.over(m.stderr)
	out, flush := m.flags.newOutput(stdout, m.stderr)
	m.output = out
	m.spawner = spawn.Open()
	options.Usage = usageOf(m.spawner)
	options.Permits = m.share.permits
	most := m.flags.mostAtOnce(maxOpenFiles() - openFiles())
	switch {
	case most < m.flags.most.most:
		m.say("warning: --jobs %s: the limit of open files (ulimit -n) allows %d", m.flags.most, most)
	case m.flags.most.most == 0 && most > 0 && most < max(manyAtOnce, int64(runtime.GOMAXPROCS(0))):
		m.say("warning: the limit of open files (ulimit -n) is %d and allows %d commands at once", maxOpenFiles(), most)
	}
	options.Max = most * m.share.weight()
	options.Grace = m.killAfter + 2*killDelay // each command is killed long before
	if m.group, err = pool.NewGroup(ctx, options); err != nil {
		m.spawner.Close()
		return &exitError{exitRun, err}
	}
	m.progress.run()
	read := make(chan struct{})
	go func() {
		defer close(read)
		m.read()
	}()
	over := make(chan struct{})
	var watch sync.WaitGroup
	var ending os.Signal
	watch.Go(func() { ending = m.passSignals(signals, over) })
	watch.Go(func() { m.heedEnd(over) })
	watch.Go(func() { m.heedStall(ctx, over) })
	m.mu.Lock()
	for !m.ended && !m.over {
		m.room.Wait()
	}
	m.mu.Unlock()
	if err = m.group.Wait(); err == pool.ErrStopped {
		err = nil // it was drained, and --resume runs what is left
	}
	err = whatThereIs(ctx, m.share.client, err)
	close(over)
	watch.Wait()
	m.spawner.Close()
	err = errors.Join(err, flush())
	m.progress.close()
	return m.exit(err, ending)
}

// ofAnotherRun reports whether a variable is one that headroom run gives its commands: of two with a name programs take
// the first.
func ofAnotherRun(entry string) bool {
	name, _, _ := strings.Cut(entry, "=")
	switch name {
	case jobs.ArgVariable, "HEADROOM_SEQ", "HEADROOM_SLOT", "HEADROOM_PERMITS", "HEADROOM_FENCE", "HEADROOM_FENCES":
		return true
	default:
		return false
	}
}

// exit is the exitError of how it all ended.
func (m *many) exit(err error, ending os.Signal) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case ending != nil:
		return endedBy(ending)
	case errors.Is(err, syscall.EPIPE):
		return err
	case err != nil:
		return manyError(err)
	case m.wrong != nil:
		return manyError(m.wrong)
	case m.met && m.flags.halt.On == jobs.Success, m.failed == 0:
		return nil
	default:
		return &exitError{int(min(m.failed, mostFailed+1)), nil}
	}
}

// manyError is the exitError for what kept the pool from going on.
func manyError(err error) error {
	var refused *client.RefusedError
	var tooMany *client.TooManyError
	if errors.As(err, &refused) || errors.As(err, &tooMany) || statusOf(err) != nil {
		return runError(err)
	}
	return &exitError{exitRun, &described{strings.TrimPrefix(strings.TrimPrefix(err.Error(), "pool: "), "client: "), err}}
}

// mostFailed is the most failed commands that an exit code tells apart, as GNU parallel has it.
const mostFailed = 100

// read submits a job for each arguments, and waits while enough wait.
func (m *many) read() {
	seq := int64(0)
	for args, err := range m.plan.arguments {
		if err == nil {
			seq++
			if m.skip != nil && m.skip(seq) {
				continue
			}
			err = m.offer(&manyJob{Job: jobs.Job{Seq: seq, Args: args}})
		}
		if errors.Is(err, pool.ErrStopped) {
			break
		}
		if err != nil {
			m.mu.Lock()
			m.wrong = err
			m.mu.Unlock()
			break
		}
	}
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	m.room.Broadcast()
}

// offer submits a new job once there is room for it.
func (m *many) offer(j *manyJob) error {
	size := 0
	for _, arg := range j.Args {
		size += len(arg)
	}
	m.mu.Lock()
	for !m.over && (m.waiting >= mostWaiting || m.bytes >= mostWaitingBytes) {
		m.room.Wait()
	}
	if m.over {
		m.mu.Unlock()
		return pool.ErrStopped
	}
	m.submitted++
	m.waiting, m.bytes, j.order = m.waiting+1, m.bytes+size, m.submitted
	m.mu.Unlock()
	first := true
	return m.group.Submit(m.poolTask(func(ctx context.Context) error {
		if first { // the pool may run it again
			first = false
			m.mu.Lock()
			m.waiting, m.bytes = m.waiting-1, m.bytes-size
			m.mu.Unlock()
			m.room.Broadcast()
		}
		return m.task(ctx, j)
	}))
}

// poolTask returns a task of the pool. All have one key: where there is no room for one more process, there is for none.
func (m *many) poolTask(run func(ctx context.Context) error) pool.Task {
	return pool.Task{Key: "processes", Weight: m.share.weight(), Run: run}
}

// submit submits a job once more.
func (m *many) submit(j *manyJob) error {
	err := m.group.Submit(m.poolTask(func(ctx context.Context) error { return m.task(ctx, j) }))
	if errors.Is(err, pool.ErrStopped) {
		return nil // --resume runs it
	}
	return err
}

// stopped reports whether no more is started.
func (m *many) stopped() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.over
}

// stopLocked lets no more be started, and ends what runs if that is to be now.
func (m *many) stopLocked(now bool) {
	m.over = true
	m.room.Broadcast()
	if now {
		close(m.halted)
	}
	go m.group.Pool().Drain(context.Background()) // Wait tells how it ended
}

// heedEnd lets no more be started once no permits will be had any more.
func (m *many) heedEnd(over <-chan struct{}) {
	if m.share.permits == nil {
		return
	}
	for {
		changed := m.share.permits.Changed()
		if m.share.permits.Err() != nil {
			m.mu.Lock()
			m.over = true // the pool has stopped
			m.mu.Unlock()
			m.room.Broadcast()
			return
		}
		select {
		case <-changed:
		case <-over:
			return
		}
	}
}

// passSignals passes signals on to the commands until over is closed. The first that ends lets no more be started, and
// the second kills. It returns the first.
func (m *many) passSignals(signals <-chan os.Signal, over <-chan struct{}) (ending os.Signal) {
	for {
		select {
		case <-over:
			return ending
		case sig := <-signals:
			switch {
			case !endsMany(sig):
				m.pass(sig)
			case ending != nil:
				m.spawner.KillAll()
			default:
				ending = sig
				m.mu.Lock()
				if !m.over {
					m.stopLocked(false)
				}
				m.mu.Unlock()
				m.pass(sig)
			}
		}
	}
}

// heedStall says why, once, where for a while no command may start and none runs.
func (m *many) heedStall(ctx context.Context, over <-chan struct{}) {
	if m.share.first == nil {
		return // without a server one may always start
	}
	const every = time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	done := int64(-1)
	for looks := 0; looks < int(stallAfter/every); {
		select {
		case <-tick.C:
		case <-over:
			return
		}
		m.mu.Lock()
		waits := m.submitted > m.done && !m.over
		same := m.done == done
		done = m.done
		m.mu.Unlock()
		if looks++; !waits || !same || m.spawner.Busy() || m.still.lasts() {
			looks = 0
		}
	}
	ctx, cancel := context.WithTimeout(ctx, stallAfter)
	defer cancel()
	m.say("nothing may start: %s", m.share.blocked(ctx))
}

// stallAfter is for how long no command has run before that is told.
const stallAfter = 3 * time.Second

func (m *many) say(format string, args ...any) {
	fmt.Fprintf(m.stderr, "headroom: %s\n", clean(fmt.Sprintf(format, args...)))
}

// state is what the progress shows.
func (m *many) state() progressState {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := progressState{done: m.done, failed: m.failed, total: m.submitted, all: m.ended, running: m.running.Load()}
	if m.plan.total > 0 && m.skip == nil {
		s.total, s.all = m.plan.total, true
	}
	return s
}

// printPlan prints the commands.
func (m *many) printPlan(stdout io.Writer) error {
	seq := int64(0)
	for args, err := range m.plan.arguments {
		if err != nil {
			return &exitError{exitRun, err}
		}
		if seq++; m.skip != nil && m.skip(seq) {
			continue
		}
		if _, err := fmt.Fprintln(stdout, m.plan.template.Line(&jobs.Job{Seq: seq, Slot: 1, Args: args})); err != nil {
			return &exitError{exitRun, err}
		}
	}
	return nil
}
