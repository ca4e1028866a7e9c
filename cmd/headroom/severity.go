package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
)

// defaultTransitions is how many of the last transitions `headroom severity` shows.
const defaultTransitions = 5

// severityCommand is `headroom severity` with its flags.
type severityCommand struct {
	server *serverFlags
	asJSON func() bool
	count  int
	watch  bool
	level  int // to act on
	stdout io.Writer
	stderr io.Writer
}

func newSeverity() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "severity [flags] [-- COMMAND [ARG]...]",
		Short: "Tell how severe the pressure is, and act when it changes",
		Long: `Tell the severity level of this machine: what is in effect, why, when the memory
will have run out, and the last transitions. The exit code is 0 at every level;
it is 3 when nobody can be asked. With -o json, one Severity of the API.

--watch shows the level and then each transition, a line each, over restarts of
the server; with -o json, one Transition of the API a line.

--exec LEVEL runs COMMAND whenever the level is entered, once at the start if it
is in effect then; --exec 0 whenever all is normal again. There is no shell. One
runs at a time: entries meanwhile lead to one run after it, with the newest. Its
environment says why, by these names after HEADROOM_SEVERITY_:
  LEVEL     the level now, when the run begins
  FROM, TO  the levels before and after what led to the run
  SEQUENCE  the number of the transition; 0 where it was not seen
  TIME      when it happened, by RFC 3339
  EVIDENCE  what it rests on, for people
  ENTRIES   how many entries the run stands for
A run that fails is reported. SIGINT and SIGTERM end headroom: they end the run
by SIGTERM, and after 10 s by force.`,
		Example: examples(
			"headroom severity --watch                 # until Ctrl-C",
			"headroom severity --exec 2 -- drop-caches # whenever level 2 is entered",
		),
	}
	s := &severityCommand{server: addServerFlags(cmd), asJSON: addOutputFlag(cmd)}
	lines := countSetting("count", &s.count, 1, math.MaxInt32,
		"last transitions to show; with --watch transitions, with --exec runs until the end")
	lines.unset = fmt.Sprintf("%d, else no end", defaultTransitions)
	addFlag(cmd, lines, "n")
	addFlag(cmd, switchSetting("watch", &s.watch, "show transitions as they happen"), "")
	level := countSetting("exec", &s.level, 0, severity.MaxLevels, "run COMMAND when this level is entered")
	kind := level.value.(typed[int])
	kind.kind = "level"
	level.value, level.unset = kind, "none"
	addFlag(cmd, level, "")
	cmd.Flags().SetInterspersed(false)
	cmd.Args = func(cmd *cobra.Command, args []string) error { return s.check(cmd, args) }
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s.stdout, s.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
		return s.run(cmd.Context(), args)
	}
	return cmd
}

// check reports flags and arguments that do not go together.
func (s *severityCommand) check(cmd *cobra.Command, args []string) error {
	acts := cmd.Flags().Changed("exec")
	var faults []error
	if acts && len(args) == 0 {
		faults = append(faults, errors.New("--exec: want a command after it, as in --exec 2 -- COMMAND"))
	}
	if !acts && len(args) > 0 {
		faults = append(faults, fmt.Errorf("%q: a command goes with --exec only", args[0]))
	}
	if acts && s.watch {
		faults = append(faults, errors.New("--watch and --exec do not go together"))
	}
	if acts && s.asJSON() {
		faults = append(faults, errors.New("--output json and --exec do not go together"))
	}
	if !acts && !s.watch && s.count > severity.HistorySize {
		faults = append(faults, fmt.Errorf("--count %d: no more than %d transitions are kept", s.count, severity.HistorySize))
	}
	if len(faults) > 0 {
		return usageError(cmd, errors.Join(faults...))
	}
	return nil
}

func (s *severityCommand) run(ctx context.Context, args []string) error {
	var act *action
	if len(args) > 0 {
		var err error
		if act, err = newAction(s.level, args, s.stdout, s.stderr); err != nil {
			return err
		}
	}
	dialing, cancel := context.WithTimeout(ctx, s.server.timeout)
	defer cancel()
	c, err := s.server.dial(dialing)
	if err != nil {
		return err
	}
	defer c.Close()
	switch {
	case act != nil:
		signals := make(chan os.Signal, 1)
		for _, sig := range endSignals {
			if !signal.Ignored(sig) { // nohup stays nohup
				signal.Notify(signals, sig)
			}
		}
		defer signal.Stop(signals)
		act.signals = signals
		return act.follow(ctx, c, s.count)
	case s.watch:
		return s.follow(ctx, c)
	default:
		return s.report(dialing, c)
	}
}

// report prints the present severity.
func (s *severityCommand) report(ctx context.Context, c *client.Client) error {
	if s.asJSON() {
		answer, err := headroomv1.NewSeverityServiceClient(c.Conn()).GetSeverity(ctx, &headroomv1.GetSeverityRequest{})
		if err != nil {
			return callError(err)
		}
		return printJSON(s.stdout, answer.GetSeverity())
	}
	n := s.count
	if n == 0 {
		n = defaultTransitions
	}
	present, transitions, err := c.Transitions(ctx, n)
	if err != nil {
		return callError(err)
	}
	text := formatTable(severityTable(&present, time.Now()))
	if len(transitions) > 0 {
		text += "\n" + formatTable(transitionTable(transitions))
	}
	_, err = io.WriteString(coloured(s.stdout), text)
	return err
}

// follow prints transitions until count of them were shown.
func (s *severityCommand) follow(ctx context.Context, c *client.Client) error {
	show := showSeverity(coloured(s.stdout), false)
	if s.asJSON() {
		show = showTransitionsJSON(s.stdout, s.stderr)
	}
	shown := 0
	for update, err := range c.WatchSeverity(ctx, client.SeverityOptions{}) {
		if err != nil {
			return callError(err)
		}
		if err := show(&update); err != nil {
			return err
		}
		if update.Transition != nil {
			shown++
		}
		if shown == s.count && s.count > 0 {
			break
		}
	}
	return nil
}

// showSeverity returns a function that prints what an update brings as a line for people: the level after a gap
// and, unless it is known, at the start, a transition, or that nothing is heard.
func showSeverity(w io.Writer, known bool) func(*client.SeverityUpdate) error {
	return func(u *client.SeverityUpdate) error {
		var line string
		switch {
		case u.Stale:
			line = styleUnknown.Render(staleLine(client.State{Received: u.Received, Cause: u.Cause}, time.Now()))
		case u.Transition != nil:
			line = transitionLine(u.Transition)
		case !known || u.Gap != client.NoGap:
			line = levelLine(u)
		default:
			return nil
		}
		known = known || !u.Stale
		_, err := fmt.Fprintln(w, line)
		return err
	}
}

// showTransitionsJSON returns a function that prints transitions as messages of the API. Standard error says what they
// cannot: that some were missed, and that nothing is heard.
func showTransitionsJSON(stdout, stderr io.Writer) func(*client.SeverityUpdate) error {
	forPeople := showSeverity(coloured(stderr), true)
	return func(u *client.SeverityUpdate) error {
		switch {
		case u.Transition != nil:
			return printJSON(stdout, wire.Transition(u.Transition))
		case u.Stale || u.Gap != client.NoGap:
			return forPeople(u)
		default:
			return nil
		}
	}
}
