package main

import (
	"context"
	"crypto/rand"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/client/diagnose"
	"github.com/headroom-rpc/headroom/diagnostics"
)

// modulePath is that of this module, by which a Go program is known that may record itself.
const modulePath = "github.com/headroom-rpc/headroom"

// leashOfDiagnose is how long the command goes on while headroom is stopped.
const leashOfDiagnose = 24 * time.Hour

// uploadPause is the time between two attempts to upload a file to a server that is away.
const uploadPause = 500 * time.Millisecond

// sealPatience bounds the wait for the artifacts once the command has ended.
const sealPatience = 30 * time.Second

// diagnoseCommand is `headroom diagnose` with its flags.
type diagnoseCommand struct {
	server                   *serverFlags
	cpu, memory, allocations bool
	task                     string
	interval                 time.Duration
	stderr                   io.Writer
}

func newDiagnose() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diagnose [flags] [--] COMMAND [ARG]...",
		Short: "Run a command and record what it does",
		Long: `Run COMMAND and record it: a log of the memory of its processes, by the server
from outside (--memory), a profile of its CPU time (--cpu), a profile of its
allocations (--allocations). The server must allow these: see
docs/diagnostics.md.

A Go program records its own profiles if it calls package client/diagnose; a
Python program is run under pyinstrument (--cpu) or memray (--allocations),
which must be installed for it. Of other programs there is no profile. What
cannot be recorded is refused by name, before COMMAND begins; the exit code is
then 64.

The artifacts are listed when COMMAND has ended; see "headroom artifacts". The
exit code is that of COMMAND, as of "headroom run".`,
		Example: examples(
			"headroom diagnose --memory -- make -j8",
			"headroom diagnose --cpu --memory -- python3 crawl.py",
		),
	}
	d := &diagnoseCommand{server: addServerFlags(cmd)}
	addFlag(cmd, switchSetting("memory", &d.memory, "log the memory of the command and what it starts"), "")
	addFlag(cmd, switchSetting("cpu", &d.cpu, "profile the CPU time"), "")
	addFlag(cmd, switchSetting("allocations", &d.allocations, "profile the allocations"), "")
	task := textSetting("task", "name", &d.task, fmt.Sprintf("1 to %d bytes of printable text", diagnostics.MaxTask), checkTask,
		"name of the task, to find its artifacts by")
	task.unset = "the command's name and a random one"
	addFlag(cmd, task, "")
	interval := durationSetting("memory-interval", &d.interval, 100*time.Millisecond, time.Hour, "time between two samples of the memory")
	interval.unset = "the server's"
	addFlag(cmd, interval, "")
	cmd.Flags().SetInterspersed(false)
	cmd.ValidArgsFunction = commandFiles
	cmd.Args = func(cmd *cobra.Command, args []string) error { return d.check(cmd, args) }
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d.stderr = cmd.ErrOrStderr()
		return d.run(cmd.Context(), args)
	}
	return cmd
}

func checkTask(text string) error {
	if !diagnostics.ValidText(text, diagnostics.MaxTask) {
		return errNotAccepted
	}
	return nil
}

func (d *diagnoseCommand) check(cmd *cobra.Command, args []string) error {
	var wrong []error
	if len(args) == 0 {
		wrong = append(wrong, errors.New("want a command, as in headroom diagnose --memory -- COMMAND"))
	}
	if !d.cpu && !d.memory && !d.allocations {
		wrong = append(wrong, errors.New("want --memory, --cpu or --allocations"))
	}
	if len(wrong) > 0 {
		return usageError(cmd, errors.Join(wrong...))
	}
	return nil
}

// A diagnosis is what is recorded of one command, and how.
type diagnosis struct {
	path    string
	args    []string
	env     []string
	outside []string          // recorders that this program asks for
	inside  []string          // recorders that the command itself asks for
	files   map[string]string // files that the command leaves, by recorder
	dir     string            // of the files; empty for none
}

// plan says how the command is recorded, or everything that cannot be.
func (d *diagnoseCommand) plan(path string, args []string) (*diagnosis, error) {
	p := &diagnosis{path: path, args: args, files: map[string]string{}}
	if d.memory {
		p.outside = append(p.outside, diagnostics.RecorderMemory)
	}
	if !d.cpu && !d.allocations {
		return p, nil
	}
	if python := pythonOf(path, args); python != nil {
		return p, d.planPython(p, python)
	}
	if !goProgram(path) {
		var wrong []error
		for name, asked := range map[string]bool{diagnostics.RecorderCPU: d.cpu, diagnostics.RecorderAllocation: d.allocations} {
			if asked {
				wrong = append(wrong, fmt.Errorf("%s: %s is neither a Python program nor a Go program with client/diagnose",
					name, clean(filepath.Base(path))))
			}
		}
		return nil, &exitError{exitUsage, errors.Join(wrong...)}
	}
	if d.cpu {
		p.inside = append(p.inside, diagnostics.RecorderCPU)
	}
	if d.allocations {
		p.inside = append(p.inside, diagnostics.RecorderAllocation)
	}
	return p, nil
}

// goProgram reports whether the file is a Go program that was built with this module.
func goProgram(path string) bool {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return false
	}
	if info.Main.Path == modulePath {
		return true
	}
	for _, dep := range info.Deps {
		if dep.Path == modulePath {
			return true
		}
	}
	return false
}

func (d *diagnoseCommand) run(ctx context.Context, args []string) error {
	path, err := findCommand(args[0])
	if err != nil {
		return err
	}
	p, err := d.plan(path, args)
	if err != nil {
		return err
	}
	if p.dir != "" {
		defer os.RemoveAll(p.dir)
	}
	if d.task == "" {
		d.task = runName(args[0])[len("run:"):] + "-" + strings.ToLower(rand.Text()[:8])
	}
	dialing, cancel := context.WithTimeout(ctx, d.server.timeout)
	defer cancel()
	c, err := d.server.dial(dialing)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := d.allowed(dialing, c, p); err != nil {
		return err
	}
	p.env = append(os.Environ(), diagnose.EnvTask+"="+d.task, diagnose.EnvRecorders+"="+strings.Join(p.inside, ","))
	return d.supervise(ctx, c, p)
}

// allowed refuses what the server does not let be recorded, by name.
func (d *diagnoseCommand) allowed(ctx context.Context, c *client.Client, p *diagnosis) error {
	list, err := c.Artifacts(ctx, client.ArtifactQuery{Task: d.task})
	if err != nil {
		return callError(err)
	}
	asked := append(append([]string(nil), p.outside...), p.inside...)
	var wrong []error
	_, refused := diagnostics.Choose(asked, append(list.Allowed, list.Always...), nil)
	for _, r := range refused {
		wrong = append(wrong, fmt.Errorf("%s: %v (setting diagnostics-allow)", r.Name, r.Reason))
	}
	if len(wrong) > 0 {
		return &exitError{exitUsage, errors.Join(wrong...)}
	}
	return nil
}

// supervise runs the command with what records it.
func (d *diagnoseCommand) supervise(ctx context.Context, c *client.Client, p *diagnosis) error {
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
	command, err := startChild(p.path, p.args, p.env)
	if err != nil {
		return err
	}
	defer command.cgroup.leave()
	leash := func() time.Duration { return leashOfDiagnose } // there is no lease that could end
	if err := dog.watch(command, killDelay, context.Background(), leash); err != nil {
		fmt.Fprintln(d.stderr, "headroom: warning: nothing ends the command if headroom is killed:", err)
	}
	began := time.Now()
	record := client.RecordConfig{Task: d.task, Recorders: p.outside, MemoryInterval: d.interval}
	if strings.HasPrefix(c.Server().Address, "unix:") {
		record.PID = command.cmd.Process.Pid
	}
	recording, err := c.Record(ctx, record)
	d.tell(recording, err)
	ended := command.supervise(context.Background(), signals, killDelay, d.stderr)
	finishing, cancel := context.WithTimeout(context.WithoutCancel(ctx), sealPatience)
	defer cancel()
	run := ""
	if recording != nil {
		run = recording.Run
	}
	for recorder, file := range p.files {
		err := d.upload(finishing, c, run, recorder, file, began, ended != nil)
		for status.Code(err) == codes.Unavailable && finishing.Err() == nil { // the server may be about to come back
			time.Sleep(uploadPause)
			err = d.upload(finishing, c, run, recorder, file, began, ended != nil)
		}
		if err != nil {
			fmt.Fprintf(d.stderr, "headroom: %s: %s\n", recorder, clean(err.Error()))
		}
	}
	if recording != nil {
		if _, err := recording.Finish(finishing, ended != nil); err != nil {
			fmt.Fprintln(d.stderr, "headroom: the recording broke off, and what was recorded by then is kept:", clean(callError(err).Error()))
		}
	}
	d.list(finishing, c)
	return ended
}

// tell says what is not recorded. The command runs all the same: it has begun.
func (d *diagnoseCommand) tell(recording *client.Recording, err error) {
	switch {
	case client.Reason(err) == "PROCESS_NOT_FOUND":
		fmt.Fprintln(d.stderr, "headroom: the command ended before it could be recorded, or the server is in another pid namespace")
	case err != nil:
		fmt.Fprintln(d.stderr, "headroom: nothing is recorded from outside:", clean(callError(err).Error()))
	default:
		for _, r := range recording.Refused {
			fmt.Fprintf(d.stderr, "headroom: %s is not recorded: %v\n", clean(r.Name), r.Reason)
		}
	}
}

// upload stores a file that the command left.
func (d *diagnoseCommand) upload(
	ctx context.Context, c *client.Client, run, recorder, file string, began time.Time, failed bool,
) error {
	f, err := os.Open(file)
	if err != nil {
		return errors.New("the command left none")
	}
	defer f.Close()
	u, err := c.Upload(ctx, client.UploadConfig{Task: d.task, Run: run, Recorder: recorder, Begin: began, Failed: failed})
	if err != nil {
		return err
	}
	_, copied := io.Copy(u, f)
	_, err = u.Seal()
	if err == nil {
		err = copied
	}
	return err
}

// list says what there is now.
func (d *diagnoseCommand) list(ctx context.Context, c *client.Client) {
	all, err := c.Artifacts(ctx, client.ArtifactQuery{Task: d.task})
	if err != nil {
		fmt.Fprintln(d.stderr, "headroom:", clean(callError(err).Error()))
		return
	}
	_, _ = io.WriteString(coloured(d.stderr), "headroom: artifacts of task "+clean(d.task)+":\n"+formatTable(artifactTable(all.List)))
}
