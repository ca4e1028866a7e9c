package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// headerEvery is how many lines stand under one header on a terminal.
const headerEvery = 20

func newWatch() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show the load of this machine as it changes, a line a state",
		Long: `Show the load of this machine as it changes, a line a state. '!' stands after a
value that is over its bound, '?' for one that could not be read. The verdict is
that of the current window, with what makes it so. A transition of the severity
and a change of the limits stand on a line between the states. With -o json, one
WatchSnapshotsResponse of the API a line, and no transitions.

It goes on through restarts of the server, and says so when it hears nothing.`,
		Example: examples(
			"headroom watch                     # until Ctrl-C",
			"headroom watch -i 5s -n 12 -o json # one minute, to be read by a program",
		),
		Args: takes(cobra.NoArgs),
	}
	server := addServerFlags(cmd)
	asJSON := addOutputFlag(cmd)
	var interval time.Duration
	var count int
	every := durationSetting("interval", &interval, 100*time.Millisecond, 10*time.Second,
		"least time between two states; a change of a verdict comes at once")
	every.unset = "1s"
	addFlag(cmd, every, "i")
	states := countSetting("count", &count, 1, math.MaxInt32, "states to show")
	states.unset = "no end"
	addFlag(cmd, states, "n")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dialing, cancel := context.WithTimeout(cmd.Context(), server.timeout)
		defer cancel()
		c, err := server.dial(dialing)
		if err != nil {
			return err
		}
		defer c.Close()
		if skew := c.Skew(); skew != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "headroom: warning:", clean(skew))
		}
		lines := &lockedWriter{w: coloured(cmd.OutOrStdout())}
		show := showLines(lines, onTerminal(cmd.OutOrStdout()))
		if asJSON() {
			show = showJSON(c.Now, cmd.OutOrStdout(), cmd.ErrOrStderr())
		}
		var transitions sync.WaitGroup
		ctx, leave := context.WithCancel(cmd.Context())
		defer func() {
			leave()
			transitions.Wait()
		}()
		shown := 0
		for state, err := range c.Snapshots(cmd.Context(), client.WatchOptions{Interval: interval}) {
			if err != nil {
				return callError(err)
			}
			if err := show(state); err != nil {
				return err
			}
			if !state.Stale {
				shown++
			}
			if shown == count && count > 0 {
				break
			}
			if shown == 1 && !state.Stale && !asJSON() { // after the header
				transitions.Go(func() { showTransitions(ctx, c, lines, cmd.ErrOrStderr()) })
			}
		}
		return nil
	}
	return cmd
}

// showTransitions prints a line for each transition until ctx is done. The states beside them say what is stale.
func showTransitions(ctx context.Context, c *client.Client, stdout, stderr io.Writer) {
	var show func(*client.SeverityUpdate) error
	for update, err := range c.WatchSeverity(ctx, client.SeverityOptions{}) {
		if s := statusOf(err); s != nil && s.Code() == codes.Unimplemented {
			return // a server of a version before
		}
		if err != nil {
			fmt.Fprintln(stderr, "headroom: no transitions:", clean(callError(err).Error()))
			return
		}
		if update.Stale {
			continue
		}
		if show == nil {
			show = showSeverity(stdout, update.Severity.Level == 0) // normal is no news
		}
		if err := show(&update); err != nil {
			return // the states cannot be printed either
		}
	}
}

// lockedWriter lets several goroutines write to w, one line each.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(line)
}

// showLines returns a function that prints a state as a line for people, under a header that on a terminal
// comes again before it scrolls away.
func showLines(w io.Writer, terminal bool) func(client.State) error {
	lines := 0
	limits := limitChanges{}
	return func(state client.State) error {
		if lines == 0 || terminal && lines%headerEvery == 0 {
			if _, err := fmt.Fprintln(w, styleHead.Render(watchHeader)); err != nil {
				return err
			}
		}
		lines++
		if state.Stale {
			_, err := fmt.Fprintln(w, styleUnknown.Render(staleLine(state, time.Now())))
			return err
		}
		if fresh := limits.next(state.Snapshots); len(fresh) > 0 {
			line := state.SendTime.Local().Format(time.TimeOnly) + "  limits: " + strings.Join(fresh, "; ")
			if _, err := fmt.Fprintln(w, line); err != nil {
				return err
			}
		}
		_, err := io.WriteString(w, watchLine(state.SendTime, state.Snapshots, &state.Current))
		return err
	}
}

// staleLine says that nothing was heard, since when and why.
func staleLine(state client.State, now time.Time) string {
	text := now.Local().Format(time.TimeOnly) + "  stale"
	if !state.Received.IsZero() {
		text += ", nothing for " + humanDuration(now.Sub(state.Received))
	}
	if state.Cause != nil {
		text += ": " + clean(callError(state.Cause).Error())
	}
	return text
}

// showJSON returns a function that prints a state as the message of the API that it came as, at a time by the
// clock of the snapshots. That message cannot say that it is stale; standard error does.
func showJSON(clock func() time.Duration, stdout, stderr io.Writer) func(client.State) error {
	started := ""
	return func(state client.State) error {
		if state.Stale {
			fmt.Fprintln(stderr, "headroom:", staleLine(state, time.Now()))
			started = ""
			return nil
		}
		m := &headroomv1.WatchSnapshotsResponse{
			Sequence:   state.Sequence,
			SendTime:   timestamppb.New(state.SendTime),
			Current:    wire.Status(&state.Current),
			Historical: wire.Status(&state.Historical),
		}
		if started != state.Started.InstanceID {
			started = state.Started.InstanceID
			m.Started = &headroomv1.Started{
				InstanceId:    state.Started.InstanceID,
				Interval:      durationpb.New(state.Started.Interval),
				MaxSilence:    durationpb.New(state.Started.MaxSilence),
				ServerVersion: state.Started.ServerVersion,
			}
		}
		now := clock()
		for i := range state.Snapshots {
			m.Snapshots = append(m.Snapshots, wire.Snapshot(&state.Snapshots[i], now))
		}
		return printJSON(stdout, m)
	}
}
