package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/severity"
)

const (
	// killDelay is how long a command has to end after SIGTERM.
	killDelay = 10 * time.Second

	// maxEvidence bounds the evidence in bytes: systems limit the environment.
	maxEvidence = 4 << 10
)

// endSignals are those that end `headroom severity --exec`. A terminal sends them to headroom alone.
var endSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}

// An entry is what led into a level: a transition, or the severity at the start or after a gap.
type entry struct {
	from, to int
	sequence uint64 // 0 where no transition was seen
	time     time.Time
	evidence []severity.Evidence
	count    int // entries that it stands for
}

// action runs a command whenever a level is entered.
type action struct {
	target         int
	path           string
	args           []string
	stdout, stderr io.Writer
	signals        <-chan os.Signal

	wake chan struct{} // capacity 1: holds an element while an entry may wait

	mu      sync.Mutex
	level   int    // as far as known
	waiting *entry // to be run for
}

// newAction finds the command before anything depends on it.
func newAction(target int, args []string, stdout, stderr io.Writer) (*action, error) {
	path, err := findCommand(args[0])
	if err != nil {
		return nil, err
	}
	return &action{
		target: target, path: path, args: args, stdout: stdout, stderr: stderr, wake: make(chan struct{}, 1),
	}, nil
}

// findCommand returns the file of a command, or an exitError with the code that a shell has for it.
func findCommand(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	code := exitNotExecutable
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = exitNotFound
	}
	return "", &exitError{code, err}
}

// follow runs the command for entries until that was done count times, where that is not 0, or a signal ends it.
func (a *action) follow(ctx context.Context, c *client.Client, count int) error {
	ctx, cancel := context.WithCancel(ctx)
	var end error
	done := make(chan struct{}) // closed when watch has returned and end is set
	go func() {
		defer close(done)
		end = a.watch(ctx, c)
	}()
	defer func() {
		cancel()
		<-done
	}()
	for runs := 0; count == 0 || runs < count; {
		select {
		case <-a.wake:
			next, level, ok := a.take()
			if !ok {
				continue
			}
			runs++
			if sig := a.run(ctx, next, level); sig != nil {
				return endedBy(sig)
			}
		case sig := <-a.signals:
			return endedBy(sig)
		case <-done:
			return end
		}
	}
	return nil
}

// endedBy is the exitError for a signal, with the code that a shell shows for it.
func endedBy(sig os.Signal) error {
	code := exitUnknown
	if number, ok := sig.(syscall.Signal); ok {
		code = 128 + int(number)
	}
	return &exitError{code, nil}
}

// watch notes entries until ctx is done or to go on is in vain.
func (a *action) watch(ctx context.Context, c *client.Client) error {
	known := false
	show := showSeverity(coloured(a.stderr), true)
	for update, err := range c.WatchSeverity(ctx, client.SeverityOptions{}) {
		if err != nil {
			return callError(err)
		}
		if most := update.Severity.MaxLevel; !known && !update.Stale && a.target > most {
			fmt.Fprintf(a.stderr, "headroom: warning: level %d is never entered, the highest is %d\n", a.target, most)
		}
		if update.Stale || update.Gap != client.NoGap {
			if err := show(&update); err != nil {
				return err
			}
		}
		a.note(&update, !known)
		known = known || !update.Stale
	}
	return nil
}

// note keeps the entry that an update brings, if it does.
func (a *action) note(u *client.SeverityUpdate, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := entry{from: a.level, to: u.Severity.Level, time: u.Severity.Since, evidence: u.Severity.Evidence}
	switch t := u.Transition; {
	case u.Stale:
		return
	case t != nil:
		next = entry{from: t.From, to: t.To, sequence: t.Sequence, time: t.Time, evidence: t.Evidence}
	case !first && u.Gap == client.NoGap:
		return
	}
	a.level = next.to
	enters := next.from < a.target && next.to >= a.target
	if a.target == 0 {
		enters = next.from > 0 && next.to == 0
	}
	if !enters {
		return
	}
	next.count = 1
	if a.waiting != nil {
		next.count += a.waiting.count
	}
	a.waiting = &next
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// take returns the entry that waits, and the level now.
func (a *action) take() (next entry, level int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		return entry{}, a.level, false
	}
	next, a.waiting = *a.waiting, nil
	return next, a.level, true
}

// run runs the command to its end. It returns the signal that ended it early, if one did.
func (a *action) run(ctx context.Context, e entry, level int) (ended os.Signal) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.path, a.args[1:]...)
	cmd.Args[0] = a.args[0]
	cmd.Env = append(os.Environ(), e.environment(level)...)
	cmd.Stdout, cmd.Stderr = a.stdout, a.stderr
	c := &child{cmd: cmd}
	cmd.SysProcAttr = ownGroup()
	cmd.WaitDelay = killDelay
	cmd.Cancel = func() error {
		c.terminate()
		return nil
	}
	if err := cmd.Start(); err != nil {
		a.failed(err)
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			a.failed(err)
		}
		return nil
	case sig := <-a.signals:
		cancel()
		a.await(c, done)
		return sig
	}
}

func (a *action) failed(err error) {
	fmt.Fprintf(a.stderr, "headroom: %s: %s\n", clean(a.args[0]), clean(err.Error()))
}

// await waits for the end of a command that was asked to end, and of what that started. After killDelay, or with
// another signal, it kills them.
func (a *action) await(c *child, done <-chan error) {
	kill := time.NewTimer(killDelay)
	defer kill.Stop()
	check := time.NewTicker(leftCheck)
	defer check.Stop()
	for done != nil || c.left() {
		select {
		case <-done:
			done = nil
		case <-check.C:
		case <-a.signals:
			kill.Reset(0)
		case <-kill.C:
			c.kill()
			if done != nil {
				<-done
			}
			return
		}
	}
}

// environment says to a command what it runs for.
func (e *entry) environment(level int) []string {
	evidence := evidenceList(e.evidence)
	if len(evidence) > maxEvidence {
		evidence = strings.ToValidUTF8(evidence[:maxEvidence], "") + "..."
	}
	at := ""
	if !e.time.IsZero() {
		at = e.time.UTC().Format(time.RFC3339Nano)
	}
	return []string{
		"HEADROOM_SEVERITY_LEVEL=" + strconv.Itoa(level),
		"HEADROOM_SEVERITY_FROM=" + strconv.Itoa(e.from),
		"HEADROOM_SEVERITY_TO=" + strconv.Itoa(e.to),
		"HEADROOM_SEVERITY_SEQUENCE=" + strconv.FormatUint(e.sequence, 10),
		"HEADROOM_SEVERITY_TIME=" + at,
		"HEADROOM_SEVERITY_EVIDENCE=" + evidence,
		"HEADROOM_SEVERITY_ENTRIES=" + strconv.Itoa(e.count),
	}
}
