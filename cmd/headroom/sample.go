package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/internal/wire"
)

func newSample() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sample [SIGNAL]",
		Short: "Print the snapshots that the server keeps",
		Long: `Print the snapshots of one signal (cpu, memory, event_loop, client or the name
of a custom one), or of all, oldest first. With -o json, one Snapshot of the API
a line.`,
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
		sample, err := c.Sample(ctx, signal, d)
		if err != nil {
			return callError(err)
		}
		if !asJSON() {
			_, err := io.WriteString(coloured(cmd.OutOrStdout()), formatTable(sampleTable(sample)))
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
