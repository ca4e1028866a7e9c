package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/internal/boottime"
)

// A watchdog is a process beside this one that ends the command, with all that it started, where this one cannot:
// at once when this one dies without a word, and when the lease of the permits is over while this one is stopped.
type watchdog struct {
	pipe  *os.File // that ends when this process does
	ended chan int // of capacity 1: the exit code of the process

	following sync.WaitGroup
	stop      context.CancelFunc // of follow; nil before watch
	leash     leash              // as it was told last
	overdue   bool               // it may have ended the command
}

// A leash is what a watchdog is to end, and when. The zero leash is nothing.
type leash struct {
	group     int           // the process group, or inTable
	cgroup    string        // its directory; empty for none
	deadline  time.Duration // by boottime, which is the same for both processes; 0 for none
	killAfter time.Duration // how long after the deadline, in which it is asked to end
}

const (
	// watchdogArg in place of a command makes this program a watchdog.
	watchdogArg = "__watchdog"

	// inTable in place of a process group stands for those of the table.
	inTable = -1

	// watchdogLag is how long after the deadline a watchdog waits for headroom to end the command itself.
	watchdogLag = 250 * time.Millisecond

	// watchdogPatience bounds how long headroom waits for its watchdog to take what it is told, and to end.
	watchdogPatience = time.Second

	// watchdogRetry is how often is looked for a lease where there is none: within the lag, so that what was meant for
	// the last one is taken back before it is done.
	watchdogRetry = 100 * time.Millisecond

	// leashStep is the least by which a later deadline is news, and the shortest time between two.
	leashStep = 10 * time.Millisecond
)

// over reports whether the time has come to end what is on the leash.
func (l *leash) over(now time.Duration) bool { return l.deadline != 0 && now >= l.deadline+watchdogLag }

// startWatchdog starts a watchdog that has nothing to end yet.
func startWatchdog() (*watchdog, error) { return startWatchdogOf(nil) }

// startWatchdogOf starts a watchdog that is to end the process groups of a table, where that is not nil.
func startWatchdogOf(groups *groupTable) (*watchdog, error) {
	self, err := ownFile()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := &exec.Cmd{
		Path: self, Args: []string{os.Args[0], watchdogArg}, // the name, for a program that goes by several
		Stdin: r, Env: watchdogEnv(os.Environ()), Dir: "/", SysProcAttr: apart(), // which is always there
		ExtraFiles: groups.files(),
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	dog := &watchdog{pipe: w, ended: make(chan int, 1)}
	go func() {
		_ = cmd.Wait() // the state says it too
		dog.ended <- cmd.ProcessState.ExitCode()
	}()
	return dog, nil
}

// watchdogEnv leaves to a watchdog what the Go runtime looks at. It does one thing at a time, and is to need few threads.
func watchdogEnv(environ []string) []string {
	var kept []string
	for _, entry := range environ {
		if strings.HasPrefix(entry, "GO") {
			kept = append(kept, entry)
		}
	}
	return append(kept, "GOMAXPROCS=1")
}

// watch has the command ended when headroom dies, and when it does not tell in time of a lease that goes on. left
// says how long the lease lasts, and lost is done when headroom ends the command itself, for which it has killAfter.
func (w *watchdog) watch(c *child, killAfter time.Duration, lost context.Context, left func() time.Duration) error {
	if w == nil {
		return nil
	}
	w.leash = leash{group: c.cmd.Process.Pid, cgroup: c.cgroup.path(), killAfter: killAfter}
	now := boottime.Now() // first, as in follow; and at once, since this process may be stopped right after
	w.leash.deadline = now + left()
	if err := w.say(&w.leash); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.following.Go(func() { w.follow(ctx, lost, left) })
	return nil
}

// follow tells each new deadline until ctx is done.
func (w *watchdog) follow(ctx, lost context.Context, left func() time.Duration) {
	for ctx.Err() == nil {
		now := boottime.Now() // first, so that a pause between the two makes the deadline no later
		lasts := left()
		if lost.Err() != nil {
			w.tell(boottime.Now() + w.leash.killAfter)
			return
		}
		w.tell(now + lasts)
		pause, cancel := context.WithTimeout(ctx, max(lasts/8, leashStep))
		stop := context.AfterFunc(lost, cancel)
		<-pause.Done()
		stop()
		cancel()
	}
}

// watchAll has all commands of the table ended when headroom dies, and when it does not tell in time of a lease that
// goes on. left says how long that lasts, 0 where there is none; it is nil where none is needed. When the lease is lost
// headroom ends the commands itself, for which it has killAfter, and may start others under another.
func (w *watchdog) watchAll(killAfter time.Duration, left func() time.Duration) error {
	if w == nil {
		return nil
	}
	w.leash = leash{group: inTable, killAfter: killAfter}
	if err := w.say(&w.leash); err != nil || left == nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.following.Go(func() { w.followAll(ctx, left) })
	return nil
}

// followAll tells each new deadline until ctx is done.
func (w *watchdog) followAll(ctx context.Context, left func() time.Duration) {
	var lost time.Duration // when the lease was; 0 for not
	for ctx.Err() == nil {
		now := boottime.Now() // first, as in follow
		lasts := left()
		wait := max(lasts/8, leashStep)
		if lasts > 0 {
			lost = 0
			w.tell(now + lasts)
		} else {
			wait = watchdogRetry
			lost = w.takeBack(now, lost)
		}
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// takeBack tells what holds after a lease was lost: headroom has killAfter to end the commands itself, and then there is
// nothing to end. It returns when the lease was lost.
func (w *watchdog) takeBack(now, lost time.Duration) time.Duration {
	if w.leash.deadline == 0 {
		return 0
	}
	deadline := w.leash.deadline
	switch {
	case lost == 0:
		lost = now
		deadline = now + w.leash.killAfter
	case now >= lost+w.leash.killAfter:
		lost, deadline = 0, 0
	}
	if deadline != w.leash.deadline {
		w.leash.deadline = deadline
		_ = w.say(&w.leash) // without a watchdog the commands go on all the same
	}
	return lost
}

// tell says that the lease ends at the deadline, if that is news.
func (w *watchdog) tell(deadline time.Duration) {
	w.overdue = w.overdue || w.leash.over(boottime.Now())
	if before := w.leash.deadline; before != 0 && deadline < before+leashStep {
		return
	}
	w.leash.deadline = deadline
	_ = w.say(&w.leash) // without a watchdog the command goes on all the same
}

// dismiss ends the watchdog, and reports whether it ended the command. A second call does nothing.
func (w *watchdog) dismiss() (ended bool) {
	if w == nil || w.pipe == nil {
		return false
	}
	if w.stop != nil {
		w.stop()
		w.following.Wait()
	}
	w.overdue = w.overdue || w.leash.over(boottime.Now())
	_ = w.say(&leash{}) // it may have been killed
	_ = w.pipe.Close()  // which says the same
	w.pipe = nil
	if !w.overdue {
		return false
	}
	patience := time.NewTimer(w.leash.killAfter + watchdogPatience)
	defer patience.Stop()
	select {
	case code := <-w.ended:
		return code == exitRun
	case <-patience.C: // somebody stopped it
		return false
	}
}
