package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/jobs"
	"github.com/headroom-rpc/headroom/internal/spawn"
	"github.com/headroom-rpc/headroom/pool"
)

// A manyJob is one of many commands.
type manyJob struct {
	jobs.Job
	order   int64 // among those that are run, from 1
	starved bool  // the kernel killed it for want of memory once
}

// A manyEnd is how the command of a job ended.
type manyEnd struct {
	exit    spawn.Exit
	started time.Time
	late    bool  // it was ended because it took too long
	printed int64 // bytes
}

func (o *manyEnd) failed() bool { return o.late || o.exit.Code != 0 }

// task is run as a task of the pool. An error ends everything, but for one that is the fault of the context, such as that
// the permit was lost: the pool runs the task again.
func (m *many) task(ctx context.Context, j *manyJob) error {
	err := m.run(ctx, j)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case errors.Is(err, client.ErrKicked): // whoever did so did not mean that all begins anew
		m.wrong = err
		if !m.over {
			m.stopLocked(true)
		}
		return nil
	case errors.Is(err, errStandstill): // so it would be with the others; --resume runs all of them
		m.wrong = err
		if !m.over {
			m.stopLocked(true)
		}
		return nil
	case errors.Is(err, errNoRoom):
	case err != nil && ctx.Err() == nil:
		m.over = true // the pool stops
		m.room.Broadcast()
	}
	return err
}

// run runs a job until it does not fail, as often as it may. It returns an error where it could not go on.
func (m *many) run(ctx context.Context, j *manyJob) error {
	if m.stopped() {
		return nil
	}
	j.Slot = m.slots.take()
	defer m.slots.giveBack(j.Slot)
	m.running.Add(1)
	defer m.running.Add(-1)
	for attempt := 1; ; attempt++ {
		o, err := m.try(ctx, j, attempt == m.flags.retries)
		switch {
		case err != nil:
			return err
		case m.stopped() && (o.exit.Signal != 0 || o.late):
			return nil // it did not end by itself: --resume runs it again
		case o.exit.OutOfMemory && !j.starved:
			j.starved = true
			m.say("job %d was killed for want of memory; it runs once more, after what waits", j.Seq)
			return m.submit(j)
		case o.failed() && attempt < m.flags.retries:
		default:
			return m.complete(j, o)
		}
	}
}

// tagEscapes keeps a tag within its line, and before the TAB.
var tagEscapes = strings.NewReplacer("\n", `\n`, "\t", `\t`, "\r", `\r`)

// try runs the command of a job once. last is whether what it prints is wanted even if it fails.
func (m *many) try(ctx context.Context, j *manyJob, last bool) (*manyEnd, error) {
	held, err := m.share.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer held.release()
	to, err := m.output(j.order, tagEscapes.Replace(strings.Join(j.Args, " ")))
	if err != nil {
		return nil, err
	}
	p, err := m.start(j, to, held)
	switch {
	case isNoRoom(err):
		if _, err := to.end(false, false); err != nil {
			return nil, err
		}
		return nil, m.later(err)
	case err != nil:
		m.say("job %d: %v", j.Seq, err)
		now := time.Now()
		o := &manyEnd{exit: spawn.Exit{Code: startCode(err), At: now}, started: now}
		_, err = to.end(last, false)
		return o, err
	}
	m.still.end()
	m.groups.set(j.Slot, p.Pid)
	o := &manyEnd{started: p.Started}
	lost := m.await(ctx, held, to, p, o)
	o.exit = p.Exit()
	m.groups.set(j.Slot, 0)
	if lost == nil && o.failed() && m.share.over() {
		lost = awaitLoss(ctx)
	}
	wanted := lost == nil && (last || !o.failed()) && (j.starved || !o.exit.OutOfMemory)
	if o.printed, err = to.end(wanted, o.exit.Left); err != nil {
		err = fmt.Errorf("job %d: %w", j.Seq, err)
	}
	return o, errors.Join(lost, err)
}

// later takes a start that found no room: an error of the task, which has the pool run it again in a moment, or ends all.
func (m *many) later(err error) error {
	busy := m.spawner.Busy()
	after, again := m.still.refused(time.Now(), busy)
	switch {
	case !again:
		return fmt.Errorf("%w; %w", err, errStandstill)
	case busy:
		m.noRoom.Do(func() { m.say("warning: %v; no more start for a moment, and then fewer run at once", err) })
	default:
		m.noneFits.Do(func() { m.say("warning: %v; it is tried again for %s", err, formatDuration(startPatience)) })
	}
	return pool.RetryAfter(after, errNoRoom)
}

// start starts the command of a job.
func (m *many) start(j *manyJob, to *capture, held *lease) (*spawn.Process, error) {
	words := m.plan.template.Command(&j.Job)
	path, err := m.commands.find(words[0])
	if err != nil {
		return nil, err
	}
	environ := append(m.environ[:len(m.environ):len(m.environ)], j.Environ()...)
	p, err := m.spawner.Start(&spawn.Command{
		Path: path, Args: words, Env: append(environ, held.environ...),
		Stdin: m.null, Stdout: to.stdout, Stderr: to.stderr,
	})
	to.started()
	return p, err
}

// startCode is the exit code of a command that could not be started.
func startCode(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) { // or its interpreter
		return exitNotFound
	}
	return exitNotExecutable
}

// await waits for the end of a command, and ends it when that is due. It returns why it had to where that was not the
// fault of the command.
func (m *many) await(ctx context.Context, held *lease, to *capture, p *spawn.Process, o *manyEnd) (lost error) {
	var late <-chan time.Time
	if m.flags.timeout > 0 {
		timer := time.NewTimer(m.flags.timeout)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-p.Done():
		return nil
	case <-late:
		o.late = true
	case <-m.halted:
	case <-to.broken: // the end of the capture says why
	case <-ctx.Done():
		lost = context.Cause(ctx)
	case <-held.lost():
		lost = context.Cause(held.others.lost)
	}
	p.Terminate()
	kill := time.NewTimer(m.killAfter)
	defer kill.Stop()
	select {
	case <-p.Done():
	case <-kill.C:
		p.Kill()
		<-p.Done()
	}
	return lost
}

// lossPatience bounds the time from the end of the lease to that of the context of a task.
const lossPatience = time.Second

// awaitLoss waits for the loss of a permit of which the lease has ended, and returns why; nil if it is not lost. While
// headroom was stopped its watchdog has ended the command, and that may be seen first.
func awaitLoss(ctx context.Context) error {
	patience := time.NewTimer(lossPatience)
	defer patience.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-patience.C:
		return nil
	}
}

// complete counts a job that is done with.
func (m *many) complete(j *manyJob, o *manyEnd) error {
	r := jobs.Record{
		Seq: j.Seq, Host: ":", Start: o.started, Runtime: o.exit.At.Sub(o.started), Received: o.printed,
		Exit: max(o.exit.Code, 0), Signal: o.exit.Signal,
	}
	if o.late {
		r.Exit = -1
		m.say("job %d took longer than %s and was ended", j.Seq, formatDuration(m.flags.timeout))
	}
	if m.log != nil {
		r.Command = m.plan.template.Line(&j.Job)
		if err := m.log.write(&r); err != nil {
			return err
		}
	}
	m.progress.complete()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done++
	if o.failed() {
		m.failed++
	}
	if !m.over && m.flags.halt.Reached(m.done, m.failed, m.totalLocked()) {
		m.over, m.met = true, true
		m.stopLocked(m.flags.halt.Now)
	}
	return nil
}

// totalLocked returns how many jobs there are; 0 while that is not known.
func (m *many) totalLocked() int64 {
	if m.ended {
		return m.submitted
	}
	return 0
}

// slots gives out the smallest numbers that nobody has.
type slots struct {
	mu   sync.Mutex
	used []bool
}

func (s *slots) take() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, used := range s.used {
		if !used {
			s.used[i] = true
			return i + 1
		}
	}
	s.used = append(s.used, true)
	return len(s.used)
}

func (s *slots) giveBack(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[n-1] = false
}

// commands finds the files of commands, each once.
type commands struct {
	mu    sync.Mutex
	paths map[string]string
}

// find returns the file of a command.
func (c *commands) find(name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if path, ok := c.paths[name]; ok {
		return path, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	const most = 1000 // where each has another command
	if c.paths == nil || len(c.paths) >= most {
		c.paths = map[string]string{}
	}
	c.paths[name] = path
	return path, nil
}
