package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/pool"
)

const manyHelp = `With arguments COMMAND runs many times, as many at once as the machine takes:
with the permits of the server if one runs, else by what is seen of the machine.
Arguments come from ::: (several are combined, :::+ goes with the one before),
from files after :::: or --arg-file, or else from standard input if COMMAND has
a placeholder or --max-args, --null or --delimiter is given. In COMMAND stand
  {}   the arguments       {.}  without extension     {#}  the number of the job
  {/}  without directory   {//} their directory       {%}  the slot it runs in
  {/.} without both        {2}  the second, also {2.} {2/} {2//} {2/.}
and without any they come at its end. With --shell COMMAND is one string for sh.
The environment has HEADROOM_ARG, HEADROOM_SEQ and HEADROOM_SLOT. Standard input
is empty. What each prints is printed when it has ended.

The first INT, TERM, HUP or QUIT starts no more and is passed on; the second
kills. The exit code is how many failed, 101 for more than 100.`

// checkMany reports what is wrong with many commands, and finds out whether there are many. The files of arguments are
// opened then.
func (r *runCommand) checkMany(cmd *cobra.Command, args []string) []error {
	wrong := r.many.check()
	if len(args) == 0 || len(wrong) > 0 {
		return wrong
	}
	r.asked = len(r.needs.names) > 0
	plan, err := r.many.newPlan(args, cmd.InOrStdin())
	switch {
	case err != nil:
		return []error{err}
	case plan == nil:
		if given := manyOnly(cmd); len(given) > 0 {
			return []error{errors.New(strings.Join(given, ", ") + ": there is one command; want arguments, as in COMMAND {} ::: ARG...")}
		}
	case r.orFail || r.wait > 0:
		plan.close()
		return []error{errors.New("--wait and --or-fail go with one command")}
	}
	r.plan = plan
	return nil
}

// errLate is why a command is ended that took too long.
var errLate = errors.New("the command took longer than --timeout")

// limitTime returns a context that is done also when one command has taken too long.
func (f *manyFlags) limitTime(lost context.Context) (context.Context, context.CancelFunc) {
	if f.timeout == 0 {
		return context.WithCancel(lost)
	}
	return context.WithTimeoutCause(lost, f.timeout, errLate)
}

// wrap returns the words of one command, for a shell if it is to be.
func (f *manyFlags) wrap(args []string) []string {
	if f.shell {
		return append([]string{"sh", "-c"}, args...)
	}
	return args
}

// runMany runs many commands.
func (r *runCommand) runMany(ctx context.Context, stdout io.Writer) error {
	program, fixed := r.plan.template.Program()
	if fixed && !r.many.dryRun {
		if _, err := findCommand(program); err != nil {
			return err
		}
	}
	m := &many{flags: r.many, plan: r.plan, killAfter: r.killAfter, stderr: r.stderr}
	if r.many.dryRun {
		if err := m.readJobLog(); err != nil {
			return err
		}
		return m.printPlan(stdout)
	}
	if n := maxOpenFiles(); n < leastFiles {
		return &exitError{exitRun, fmt.Errorf("the limit of open files (ulimit -n) is %d, want at least %d", n, leastFiles)}
	}
	makeSpareThreads()
	signals := make(chan os.Signal, 16)
	defer signal.Stop(signals)
	for _, sig := range passedOn {
		if !signal.Ignored(sig) { // nohup stays nohup
			signal.Notify(signals, sig)
		}
	}
	// Where nobody reads the output any more, or a file is as large as it may be, writing is to fail, and not to end this
	// program: the commands are to have their time to end. They themselves start with the signals as they were.
	signal.Notify(make(chan os.Signal, 1), ofWriting...)
	share, err := r.share(ctx, program)
	if err != nil {
		return err
	}
	defer share.close()
	m.share = share
	dismiss := m.guard()
	defer dismiss()
	machine, stop, err := newMachine()
	if err != nil {
		return &exitError{exitRun, err}
	}
	defer stop()
	if err := m.openJobLog(); err != nil { // last, for that ends the log of another run
		return err
	}
	defer m.log.close() // each line was written at once
	return m.runAll(ctx, stdout, pool.Options{Snapshotter: machine}, signals)
}

// guard has the commands ended when this process dies.
func (m *many) guard() (dismiss func()) {
	var dog *watchdog
	var err error
	if m.groups, err = newGroupTable(); err == nil {
		dog, err = startWatchdogOf(m.groups)
	}
	if err == nil {
		err = dog.watchAll(m.killAfter, m.share.leaseLeft())
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		m.say("warning: nothing ends the commands if headroom is killed or stopped: %v", err)
	}
	return func() {
		dog.dismiss()
		m.groups.close()
	}
}
