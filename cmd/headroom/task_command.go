package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/task"
)

const (
	// taskEndTime is how long the end of a command waits for the server to take its last sample.
	taskEndTime = 3 * time.Second

	// forever is for how long the watchdog leaves the command alone: no suspend of the host lasts as long.
	forever = 1 << 60
)

// taskCommand is `headroom task` with its flags.
type taskCommand struct {
	server   *serverFlags
	name     string
	sandbox  string
	memory   int64
	interval time.Duration // 0 for the server's
	report   bool
	stderr   io.Writer
}

func newTask() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "task [flags] [--] COMMAND [ARG]...",
		Short: "Run a command and keep account of what it uses",
		Long: `Run COMMAND as a task: the server keeps account of what it uses with all that it
starts, for as long as it runs and a while longer. There is no shell. Where
headroom may make a control group, COMMAND has one of its own, in which whatever
leaves its process tree is found too. Headroom itself is not counted. See
"headroom tasks".

COMMAND has headroom's standard files and a process group of its own, to which
INT, TERM, HUP, QUIT, USR1, USR2, WINCH, TSTP and CONT are passed on. The exit
code is that of COMMAND, or 128 and the number of the signal that ended it.
When headroom dies, COMMAND is killed at once, with all of its process group. A
server that goes away ends nothing: the task is registered anew once it is back.`,
		Example: examples(
			"headroom task -- make -j8",
			"headroom task --sandbox out --memory-limit 4GiB --report -- make",
		),
	}
	t := &taskCommand{server: addServerFlags(cmd)}
	name := textSetting("name", "name", &t.name, "1 to 128 characters", checkTaskName, "what the task is called")
	name.unset = "that of COMMAND"
	addFlag(cmd, name, "")
	addFlag(cmd, textSetting("sandbox", "path", &t.sandbox, "a path", nil,
		"folder whose disk usage is read; it may come to exist later"), "")
	limit := sizeSetting("memory-limit", &t.memory, 1, math.MaxInt64,
		"memory that the task may use, by which its severity is judged; nothing is enforced")
	limit.unset = "none"
	addFlag(cmd, limit, "")
	interval := durationSetting("interval", &t.interval, task.MinInterval, task.MaxInterval, "time between two samples")
	interval.unset = "the server's"
	addFlag(cmd, interval, "i")
	addFlag(cmd, switchSetting("report", &t.report, "print what COMMAND used when it has ended, to standard error"), "")
	cmd.Flags().SetInterspersed(false)
	cmd.ValidArgsFunction = commandFiles
	cmd.Args = takes(func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New("want a command, as in headroom task -- COMMAND")
		}
		return nil
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t.stderr = cmd.ErrOrStderr()
		return t.run(cmd.Context(), args)
	}
	return cmd
}

func checkTaskName(text string) error {
	if text == "" || len([]rune(text)) > 128 || clean(text) != text {
		return errNotAccepted
	}
	return nil
}

func (t *taskCommand) run(ctx context.Context, args []string) error {
	path, err := findCommand(args[0])
	if err != nil {
		return err
	}
	sandbox := t.sandbox
	if sandbox != "" {
		if sandbox, err = filepath.Abs(sandbox); err != nil {
			return &exitError{exitRun, err}
		}
	}
	dog, err := startWatchdog()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return &exitError{exitRun, err}
	}
	defer dog.dismiss()
	signals := make(chan os.Signal, 16)
	defer signal.Stop(signals)
	for _, sig := range passedOn {
		if !signal.Ignored(sig) { // nohup stays nohup
			signal.Notify(signals, sig)
		}
	}
	dialing, cancel := context.WithTimeout(ctx, t.server.timeout)
	defer cancel()
	c, err := t.server.dial(dialing)
	if err != nil {
		return runError(err)
	}
	defer c.Close()
	command, err := startChild(path, args, os.Environ())
	if err != nil {
		return err
	}
	began := time.Now()
	defer command.cgroup.leave()
	never := context.Background() // nothing is leased that could be lost
	if err := dog.watch(command, killDelay, never, func() time.Duration { return forever }); err != nil {
		fmt.Fprintln(t.stderr, "headroom: warning: nothing ends the command if headroom is killed or stopped:", err)
	}
	registered := t.register(dialing, c, command, args[0], sandbox)
	err = command.supervise(never, signals, killDelay, t.stderr)
	if registered != nil {
		t.end(registered, command, time.Since(began))
	}
	return err
}

// register has the server keep account of the command. Where that cannot be, the command runs without.
func (t *taskCommand) register(ctx context.Context, c *client.Client, command *child, name, sandbox string) *client.Task {
	if t.name != "" {
		name = t.name
	} else {
		name = clean(filepath.Base(name))
	}
	one := client.TaskProcess{Name: "command", PID: command.cmd.Process.Pid, Cgroup: command.cgroup.name()}
	conf := client.TaskConfig{
		Name: name, Processes: []client.TaskProcess{one}, Sandbox: sandbox, MemoryLimit: t.memory, Interval: t.interval,
	}
	registered, err := c.RegisterTask(ctx, conf)
	if client.Reason(err) == "PROCESS_NOT_FOUND" && one.Cgroup != "" { // it was quicker; its group still knows
		conf.Processes[0].PID = 0
		registered, err = c.RegisterTask(ctx, conf)
	}
	if client.Reason(err) == "CGROUP_NOT_FOUND" { // the server sees other groups
		conf.Processes[0].PID, conf.Processes[0].Cgroup = one.PID, ""
		registered, err = c.RegisterTask(ctx, conf)
	}
	if err != nil {
		select {
		case <-command.ended: // there is nothing to keep account of any longer
		default:
			fmt.Fprintln(t.stderr, "headroom: warning: nobody keeps account of the command:", clean(callError(err).Error()))
		}
		return nil
	}
	return registered
}

// end ends the task, whose command ran for so long, and says what it used.
func (t *taskCommand) end(registered *client.Task, command *child, ran time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), taskEndTime)
	defer cancel()
	code := int32(command.code)
	state, err := registered.End(ctx, &code)
	switch {
	case err != nil:
		fmt.Fprintln(t.stderr, "headroom: warning: the server was not told of the end of the task:", clean(callError(err).Error()))
	case t.report && state.Sample != nil:
		fmt.Fprintln(t.stderr, "headroom: "+reportText(&state, ran))
	}
}
