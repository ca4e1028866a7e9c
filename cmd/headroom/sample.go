package main

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/snapshot"
)

func newSample() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sample [SIGNAL]",
		Short: "Print the snapshots that the server keeps",
		Long: `Print the snapshots of one signal (cpu, memory, event_loop, client,
pressure_cpu, pressure_memory, pressure_io or the name of a custom one), or of
all, oldest first, and the limits that the newest were judged against. With
-o json, one Snapshot of the API a line.`,
		Example: examples(
			"headroom sample cpu -d 10s               # the CPU in the last ten seconds",
			"headroom sample -o json > snapshots.json # everything, to be read by a program",
		),
		Args: takes(cobra.MaximumNArgs(1)),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return builtIn, cobra.ShellCompDirectiveNoFileComp
		},
	}
	server := addServerFlags(cmd)
	asJSON := addOutputFlag(cmd)
	var d time.Duration
	since := durationSetting("duration", &d, 0, 24*time.Hour, "how far back from the newest snapshot")
	since.unset = "the whole history"
	addFlag(cmd, since, "d")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		signal := ""
		if len(args) > 0 {
			signal = args[0]
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), server.timeout)
		defer cancel()
		c, err := server.dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		sample, err := sampleOf(ctx, c, signal, d)
		if err != nil {
			return callError(err)
		}
		if !asJSON() {
			text := formatTable(sampleTable(sample))
			for i, line := range limitLines(newestOf(sample)) {
				if i == 0 {
					text += "\n"
				}
				text += line + "\n"
			}
			_, err := io.WriteString(coloured(cmd.OutOrStdout()), text)
			return err
		}
		now := c.Now()
		for i := range sample {
			if err := printJSON(cmd.OutOrStdout(), wire.Snapshot(&sample[i], now)); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// sampleOf returns the snapshots of a signal. The server gives those of pressure only together.
func sampleOf(ctx context.Context, c *client.Client, signal string, d time.Duration) ([]snapshot.Snapshot, error) {
	switch signal {
	case snapshot.SignalPressureCPU, snapshot.SignalPressureMemory, snapshot.SignalPressureIO:
	default:
		return c.Sample(ctx, signal, d)
	}
	sample, err := c.Sample(ctx, snapshot.Pressure.String(), d)
	return slices.DeleteFunc(sample, func(s snapshot.Snapshot) bool { return s.Signal != signal }), err
}

// newestOf returns the last snapshot of each signal of a sample, which is grouped by signal.
func newestOf(sample []snapshot.Snapshot) []snapshot.Snapshot {
	var newest []snapshot.Snapshot
	for i := range sample {
		if i == len(sample)-1 || sample[i+1].Signal != sample[i].Signal {
			newest = append(newest, sample[i])
		}
	}
	return newest
}
