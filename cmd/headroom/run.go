package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/server"
)

const (
	// freePatience bounds run --or-fail: by then the server has taken back what others lease but do not use.
	freePatience = time.Second

	// noticeAfter is how long run waits for a permit before it says so, on a terminal or where it may wait for what
	// the command around it holds.
	noticeAfter = 2 * time.Second
)

// runCommand is `headroom run` with its flags.
type runCommand struct {
	server    *serverFlags
	needs     needs
	wait      time.Duration // 0 for no end
	orFail    bool
	killAfter time.Duration
	many      *manyFlags
	plan      *plan // nil for one command
	asked     bool  // whether the needs were given
	stderr    io.Writer
}

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [flags] [--] COMMAND [ARG]... [::: VALUE...]...",
		Short: "Run commands while the machine has room for them",
		Long: `With one COMMAND: wait for a permit, run it while that is held, and give it
back. There is no shell. --permit may be given several times: all of them are
held, or none. Without --permit and --addr, and with no server on this machine,
it runs at once.

COMMAND has headroom's standard files and a process group of its own, to which
INT, TERM, HUP, QUIT, USR1, USR2, WINCH, TSTP and CONT are passed on. Its
environment says what is held:
  HEADROOM_PERMITS  such as billing-api=1,host=2
  HEADROOM_FENCE    the fence of the first: 32 hexadecimal digits that grow with
                    each grant, for a store that refuses a stale writer
  HEADROOM_FENCES   all of them, such as billing-api=00...2a,host=00...07

The exit code is that of COMMAND, or 128 and the number of the signal that ended
it. A permit that is lost, because the server was not heard of for the time of
the lease, says cancel, or was told to end the session, ends COMMAND: by SIGTERM
to its process group, and after --kill-after by SIGKILL; then the code is 125.
When headroom dies, COMMAND is killed at once, with all of its process group.
When headroom is stopped for longer than the lease, COMMAND is ended as above.

A COMMAND that runs headroom itself needs permits beside those that are held for
it, and waits for ever where these are all there are.

` + manyHelp,
		Example: examples(
			"headroom run --permit api=2 --wait 1m -- sync  # or exit with 124",
			"headroom run -- convert {} {.}.webp ::: *.png  # as many as there is room for",
		),
	}
	r := &runCommand{server: addAddressFlags(cmd), many: addManyFlags(cmd), killAfter: killDelay}
	addFlag(cmd, setting{
		name: "permit", value: &r.needs, unset: server.HostResource,
		accepts: fmt.Sprintf("RESOURCE or RESOURCE=N, each resource once, N from 1 to %d", int64(permit.MaxLimit)),
		help:    "permits to hold, one or N of a resource",
	}, "")
	wait := durationSetting("wait", &r.wait, time.Millisecond, 30*24*time.Hour, "how long to wait for the server and the permits; else exit with 124")
	wait.unset = "no end"
	addFlag(cmd, wait, "")
	addFlag(cmd, switchSetting("or-fail", &r.orFail, "do not wait for a permit that is in use: exit with 75"), "")
	addFlag(cmd, durationSetting("kill-after", &r.killAfter, 0, 24*time.Hour,
		"how long COMMAND has to end when a permit is lost"), "")
	cmd.Flags().SetInterspersed(false)
	cmd.ValidArgsFunction = commandFiles
	cmd.Args = func(cmd *cobra.Command, args []string) error { return r.check(cmd, args) }
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r.stderr = cmd.ErrOrStderr()
		if r.plan != nil {
			defer r.plan.close()
			return r.runMany(cmd.Context(), cmd.OutOrStdout())
		}
		return r.run(cmd.Context(), r.many.wrap(args))
	}
	return cmd
}

// commandFiles completes a command and its arguments as a shell does by itself.
func commandFiles(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// check reports flags and arguments that do not go together.
func (r *runCommand) check(cmd *cobra.Command, args []string) error {
	var wrong []error
	if len(args) == 0 {
		wrong = append(wrong, errors.New("want a command, as in headroom run -- COMMAND"))
	}
	if r.orFail && r.wait > 0 {
		wrong = append(wrong, errors.New("--wait and --or-fail do not go together"))
	}
	wrong = append(wrong, r.checkMany(cmd, args)...)
	if len(wrong) > 0 {
		return usageError(cmd, errors.Join(wrong...))
	}
	if len(r.needs.names) == 0 {
		return r.needs.Set(server.HostResource)
	}
	return nil
}

func (r *runCommand) run(ctx context.Context, args []string) error {
	path, err := findCommand(args[0])
	if err != nil {
		return err
	}
	makeSpareThreads()
	dog, err := startWatchdog()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return &exitError{exitRun, err}
	}
	defer dog.dismiss()
	signals := make(chan os.Signal, 16)
	defer signal.Stop(signals)
	notify := func(all []os.Signal, ending bool) {
		for _, sig := range all {
			if ends(sig) == ending && !signal.Ignored(sig) { // nohup stays nohup
				signal.Notify(signals, sig)
			}
		}
	}
	notify(passedOn, true)

	waiting := untilSignal(ctx, signals)
	c, held, err := r.hold(waiting.ctx, args[0])
	end := waiting.end() // from here the signals are the command's
	if c != nil {
		defer c.Close()
	}
	defer held.release()
	if end != nil {
		return end
	}
	if err != nil {
		return err
	}

	notify(passedOn, false)
	environ := append(os.Environ(), held.environment(r.needs.names)...)
	command, err := startWithRoom(func() (*child, error) { return startChild(path, args, environ) }, signals, held.lost, r.stderr)
	if err != nil {
		return err
	}
	defer command.cgroup.leave()
	if err := dog.watch(command, r.killAfter, held.lost, held.leaseLeft); err != nil {
		fmt.Fprintln(r.stderr, "headroom: warning: nothing ends the command if headroom is killed or stopped:", err)
	}
	lost, stop := r.many.limitTime(held.lost)
	defer stop()
	err = command.supervise(lost, signals, r.killAfter, r.stderr)
	var exit *exitError
	if dog.dismiss() && !(errors.As(err, &exit) && exit.code == exitRun) {
		fmt.Fprintf(r.stderr, "headroom: the lease ended while headroom was stopped; its watchdog ended %s\n", clean(args[0]))
		return &exitError{exitRun, nil}
	}
	return err
}

// possible refuses what can never be had: more than a limit that follows no load. A limit of 0 is for a pause.
func (r *runCommand) possible(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, r.server.timeout)
	defer cancel()
	var wrong []error
	for _, name := range r.needs.sorted() {
		n := r.needs.counts[name]
		if n == 1 {
			continue
		}
		e, err := c.Explain(ctx, name)
		if err != nil {
			return runError(err)
		}
		if limit := e.Account.Limit; n > limit && limit > 0 && e.Account.Law == lawFixed {
			wrong = append(wrong, fmt.Errorf("--permit %s=%d: the limit of %s is %d", name, n, name, limit))
		}
	}
	if len(wrong) > 0 {
		return &exitError{exitUsage, errors.Join(wrong...)}
	}
	return nil
}

// hold finds the server and takes the permits. There is no client, and nothing is held, where nobody asked for permits and
// no server gives some. The time of --wait is for both.
func (r *runCommand) hold(ctx context.Context, program string) (*client.Client, *holding, error) {
	limited := ctx
	if r.wait > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, r.wait)
		defer cancel()
	}
	c, err := r.connect(limited, program)
	if c == nil {
		return nil, newHolding(nil, nil), err
	}
	err = r.possible(limited, c)
	if err != nil {
		return c, newHolding(nil, nil), err
	}
	held, err := r.acquire(ctx, limited, c)
	return c, held, err
}

// acquire waits for all permits until limited is done, which ends with ctx or earlier.
func (r *runCommand) acquire(ctx, limited context.Context, c *client.Client) (*holding, error) {
	patience, code := r.wait, exitTimeout
	if r.orFail {
		patience, code = freePatience, exitNotFree
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	none := newHolding(nil, nil)
	handles, err := r.open(c)
	if err != nil {
		return none, err
	}
	if around := r.needs.within(os.Getenv("HEADROOM_PERMITS")); onTerminal(r.stderr) || around != "" {
		notice := time.AfterFunc(noticeAfter, func() { fmt.Fprintln(r.stderr, "headroom: waiting for "+blocked(handles)+around) })
		defer notice.Stop()
	}
	permits, err := c.AcquireAll(limited, r.needs.counts)
	reason := blocked(handles)
	for _, h := range handles {
		h.Close()
	}
	expired := limited.Err() != nil && ctx.Err() == nil
	switch {
	case err == nil:
		return newHolding(permits, r.needs.sorted()), nil
	case expired && r.orFail:
		return none, &exitError{code, fmt.Errorf("not free: %s", reason)}
	case expired:
		return none, &exitError{code, fmt.Errorf("still waiting after %s for %s", formatDuration(patience), reason)}
	default:
		return none, runError(whatThereIs(ctx, c, err))
	}
}

// open opens a handle for each resource, by which to tell what is waited for.
func (r *runCommand) open(c *client.Client) ([]*client.Permits, error) {
	var all []*client.Permits
	for _, name := range r.needs.sorted() {
		h, err := c.Permits(name)
		if err != nil {
			return nil, runError(err)
		}
		all = append(all, h)
	}
	return all, nil
}

// blocked says which resources there are no permits of, and why.
func blocked(handles []*client.Permits) string {
	var reasons, names []string
	for _, h := range handles {
		names = append(names, h.Resource())
		if t := h.Target(); t.Binding != "" {
			reasons = append(reasons, h.Resource()+": "+clean(t.Binding))
		}
	}
	if len(reasons) == 0 {
		return "permits of " + strings.Join(names, ", ")
	}
	return strings.Join(reasons, "; ")
}

// runError is the exitError for what keeps headroom from running the command. The command's own codes are not used.
func runError(err error) error {
	var refused *client.RefusedError
	if errors.As(err, &refused) {
		code := exitRun
		switch refused.Refusal {
		case permit.RefusedNoResource:
			code = exitUsage
		case permit.RefusedNotAllowed:
			code = exitDenied
		}
		return &exitError{code, &described{strings.TrimPrefix(err.Error(), "client: "), err}}
	}
	var many *client.TooManyError
	if errors.As(err, &many) {
		text := fmt.Sprintf("--permit %s=%d: never more than %d of %s can be had at once", many.Resource, many.Count, many.Most, many.Resource)
		return &exitError{exitUsage, &described{text, err}}
	}
	var exit *exitError
	err = callError(err)
	if errors.As(err, &exit) && exit.code != exitUsage && exit.code != exitDenied {
		return &exitError{exitRun, exit.err}
	}
	return err
}

// runName names the session of a command: what of its name the API takes.
func runName(command string) string {
	const most = 60
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._:-", r):
			return r
		default:
			return '-'
		}
	}, filepath.Base(command))
	return "run:" + name[:min(len(name), most)]
}

// supervise waits for the end of the command, passes signals on, and ends it when lost is done. Its error is an
// exitError with the code of the command, 124 if lost is a limit of its time, or 125.
func (c *child) supervise(lost context.Context, signals <-chan os.Signal, killAfter time.Duration, stderr io.Writer) error {
	tty := openTerminal()
	defer tty.close()
	for {
		select {
		case sig := <-signals:
			tty.pass(sig, c)
		case sig := <-c.stopped:
			tty.stopped(sig, c)
		case <-c.ended:
			if c.code == exitOK {
				return nil
			}
			return &exitError{c.code, nil}
		case <-lost.Done():
			select {
			case <-c.ended:
				continue // in time
			default:
			}
			fmt.Fprintf(stderr, "headroom: %s; ending %s\n", clean(context.Cause(lost).Error()), clean(c.cmd.Args[0]))
			c.endIn(killAfter, tty, signals)
			if errors.Is(context.Cause(lost), errLate) {
				return &exitError{exitTimeout, nil}
			}
			return &exitError{exitRun, nil}
		}
	}
}

// leftCheck is how often a process group is looked at that is to end.
const leftCheck = 20 * time.Millisecond

// endIn ends the command and what it started: first it asks, then it kills.
func (c *child) endIn(killAfter time.Duration, tty *terminal, signals <-chan os.Signal) {
	c.terminate()
	kill := time.NewTimer(killAfter)
	defer kill.Stop()
	check := time.NewTicker(leftCheck)
	defer check.Stop()
	for ended := c.ended; ; {
		select {
		case <-kill.C:
			c.kill()
			<-c.ended
			return
		case <-ended:
			ended = nil
		case <-check.C:
			if ended == nil && !c.left() {
				return
			}
		case sig := <-signals:
			tty.pass(sig, c)
		}
	}
}
