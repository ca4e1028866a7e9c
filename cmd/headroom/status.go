package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
)

// statusCommand is `headroom status` with its flags.
type statusCommand struct {
	server     *serverFlags
	asJSON     func() bool
	historical bool
	waitIdle   bool
	newest     []snapshot.Snapshot
	stdout     io.Writer
}

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Judge the load of this machine; the exit code says it",
		Long: `Judge the load of this machine over the last seconds. Exit 0 when it is idle, 1
when it is overloaded, and 3 when that is unknown or nobody can be asked.

TIME OVER is the share of the window in which the signal was over its BOUND;
more of it than LIMIT is overloaded.`,
		Example: examples(
			"headroom status --wait-idle && make      # start when there is room",
			`parallel --limit "headroom status" ...   # start no job under overload`,
		),
		Args: takes(cobra.NoArgs),
	}
	s := &statusCommand{server: addServerFlags(cmd), asJSON: addOutputFlag(cmd)}
	addFlag(cmd, choiceSetting("window", "name", &s.historical, []choice[bool]{{"current", false}, {"historical", true}},
		"window that decides"), "")
	addFlag(cmd, switchSetting("wait-idle", &s.waitIdle,
		"wait until the machine is idle, for ever unless --timeout is given"), "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s.stdout = cmd.OutOrStdout()
		if s.waitIdle {
			return s.wait(cmd.Context(), cmd.Flags().Changed("timeout"))
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), s.server.timeout)
		defer cancel()
		c, err := s.server.dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		status, err := c.Status(ctx)
		if err != nil {
			return callError(err)
		}
		if !s.asJSON() {
			s.newest = newest(ctx, c)
		}
		return s.report(status)
	}
	return cmd
}

// newest returns the newest snapshot of each signal, or none where they cannot be had: they only say more.
func newest(ctx context.Context, c *client.Client) []snapshot.Snapshot {
	sample, err := c.Sample(ctx, "", time.Nanosecond)
	if err != nil {
		return nil
	}
	return sample
}

// decides returns the judgement of the window that decides.
func (s *statusCommand) decides(status *client.Status) *snapshot.Status {
	if s.historical {
		return &status.Historical
	}
	return &status.Current
}

// report prints the status and returns the exit code that stands for it.
func (s *statusCommand) report(status client.Status) error {
	if err := s.print(status); err != nil {
		return &exitError{exitUnknown, err}
	}
	switch s.decides(&status).State {
	case snapshot.StateIdle:
		return nil
	case snapshot.StateOverloaded:
		return &exitError{exitOverloaded, nil}
	default:
		return &exitError{exitUnknown, nil}
	}
}

func (s *statusCommand) print(status client.Status) error {
	if s.asJSON() {
		return printJSON(s.stdout, &headroomv1.GetStatusResponse{
			Current:       wire.Status(&status.Current),
			Historical:    wire.Status(&status.Historical),
			InstanceId:    status.InstanceID,
			ServerVersion: status.ServerVersion,
		})
	}
	decides := s.decides(&status)
	var text strings.Builder
	text.WriteString(formatTable(statusTable(decides)) + "\n")
	for _, window := range []*snapshot.Status{&status.Current, &status.Historical} {
		fmt.Fprintf(&text, "last %-4s %s\n", formatDuration(window.Window), styleOf(window.State).Render(verdict(window)))
	}
	for _, line := range append(limitLines(s.newest), reasons(decides)...) {
		text.WriteString(line + "\n")
	}
	_, err := io.WriteString(coloured(s.stdout), text.String())
	return err
}

// wait blocks until the machine is idle, through restarts of the server. With limited it gives up after the
// timeout.
func (s *statusCommand) wait(ctx context.Context, limited bool) error {
	dialing, cancel := context.WithTimeout(ctx, s.server.timeout)
	defer cancel()
	if limited {
		ctx = dialing
	}
	c, err := s.server.dial(dialing)
	if err != nil {
		return err
	}
	defer c.Close()
	var last client.Status
	for state, err := range c.Snapshots(ctx, client.WatchOptions{Interval: time.Second}) {
		if err != nil {
			return callError(err)
		}
		// A stale state cannot be idle: the fresh one before it would have ended the wait.
		last = client.Status{
			Current: state.Current, Historical: state.Historical,
			InstanceID: state.Started.InstanceID, ServerVersion: state.Started.ServerVersion,
		}
		if s.decides(&last).State == snapshot.StateIdle {
			s.newest = state.Snapshots
			return s.report(last)
		}
	}
	return &exitError{exitTimeout, fmt.Errorf("still not idle after %s: %s",
		formatDuration(s.server.timeout), verdict(s.decides(&last)))}
}
