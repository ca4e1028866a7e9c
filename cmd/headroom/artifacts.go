package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/diagnostics"
	"github.com/headroom-rpc/headroom/internal/wire"
)

func newArtifacts() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "artifacts",
		Short: "List, get, keep, delete and show what was recorded of tasks",
		Long: `List, get, keep, delete and show artifacts: the memory logs, profiles, traces,
logs and files that diagnostics recorded of tasks. One sees one's own; an
operator sees all. docs/diagnostics.md says how to read them.`,
		Example: examples(
			"headroom artifacts list --task crawl-7",
			"headroom artifacts open ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		),
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newArtifactsList(), newArtifactsGet(), newArtifactsPin(), newArtifactsRemove(), newArtifactsOpen())
	return cmd
}

// dialed calls f with a client, and a context that ends after --timeout.
func (f *serverFlags) dialed(ctx context.Context, call func(context.Context, *client.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	c, err := f.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return callError(call(ctx, c))
}

// oneID takes the arguments of a command for one artifact, or for several.
func oneID(several bool) cobra.PositionalArgs {
	return takes(func(_ *cobra.Command, args []string) error {
		if len(args) == 0 || len(args) > 1 && !several {
			return errors.New("want the id of an artifact; headroom artifacts list shows them")
		}
		return nil
	})
}

func newArtifactsList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List artifacts, or those that will expire",
		Long: `List artifacts: those that are being written, too. OVERHEAD is what recording
cost the task: low is under 1 %, medium up to 5 %, high more. WITH names what
was recorded at the same time.

--expiring lists instead what will be deleted within that time, and --for what
would be deleted to make room for that size; nothing is deleted by asking.`,
		Example: examples(
			"headroom artifacts list --task crawl-7 -o json",
			"headroom artifacts list --expiring 6h --for 500MiB",
		),
		Args: takes(cobra.NoArgs),
	}
	server, asJSON := addServerFlags(cmd), addOutputFlag(cmd)
	var q client.ArtifactQuery
	cmd.Flags().StringVar(&q.Task, "task", "", "only those of the task")
	cmd.Flags().StringVar(&q.Run, "run", "", "only those of the recording")
	cmd.Flags().StringVar(&q.Name, "name", "", "only those of that name, such as memory_profile")
	const year = 365 * 24 * time.Hour
	addFlag(cmd, durationSetting("expiring", &q.ExpiringWithin, 0, 10*year, "only those that will be deleted within that time"), "")
	addFlag(cmd, sizeSetting("for", &q.ForBytes, 0, 1<<50, "those too that are deleted to make room for that size"), "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q.Expiring = cmd.Flags().Changed("expiring") || cmd.Flags().Changed("for")
		return server.dialed(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			all, err := c.Artifacts(ctx, q)
			if err != nil {
				return err
			}
			if asJSON() {
				for i := range all.List {
					if err := printJSON(cmd.OutOrStdout(), wire.Artifact(&all.List[i])); err != nil {
						return err
					}
				}
				return nil
			}
			_, err = io.WriteString(coloured(cmd.OutOrStdout()), formatTable(artifactTable(all.List))+
				fmt.Sprintf("\nAll artifacts of the server take %s of %s.\n", humanSize(all.UsedBytes), humanSize(all.MaxBytes)))
			return err
		})
	}
	return cmd
}

// artifactTable returns a row an artifact.
func artifactTable(all []diagnostics.Artifact) [][]cell {
	rows := [][]cell{header("ID", "TASK", "NAME", ">SIZE", "OVERHEAD", "ENDED", "EXPIRES", "STATE", "WITH")}
	for _, a := range all {
		recorder, _ := diagnostics.Lookup(a.Recorder)
		ended, expires, state, style := "-", "-", "writing", styleUnknown
		if a.Sealed {
			ended, expires, state, style = a.End.Local().Format(time.DateTime), a.Expire.Local().Format(time.DateTime), "whole", stylePlain
		}
		if a.Pinned {
			expires = "pinned"
		}
		if a.Truncated != "" {
			state, style = "cut short: "+clean(a.Truncated), styleOverloaded
		}
		if a.Part > 0 {
			state = fmt.Sprintf("part %d, %s", a.Part, state) // counted as by the API and in file names
		}
		if a.Failed {
			state += ", task failed"
		}
		with := clean(strings.Join(a.With, " "))
		if with == "" {
			with = "-"
		}
		rows = append(rows, []cell{
			{text: clean(a.ID)}, {text: clean(a.Task)}, {text: clean(a.Name)}, {text: humanSize(a.Size), right: true},
			{text: recorder.Overhead.String()}, {text: ended}, {text: expires}, {text: state, style: style}, {text: with},
		})
	}
	return rows
}

func newArtifactsGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Get the content of an artifact",
		Long: `Get the content of an artifact, to standard output or to a new file. A memory
log can be had as JSON or as a plot. The digest is checked; a file that could
not be had whole is removed.`,
		Example: examples(
			"headroom artifacts get ABCDEFGHIJKLMNOPQRSTUVWXYZ > cpu.pprof",
			"headroom artifacts get ABCDEFGHIJKLMNOPQRSTUVWXYZ --form svg -f memory.svg",
		),
		Args: oneID(false),
	}
	server := addServerFlags(cmd)
	form, file := client.FormStored, ""
	addFlag(cmd, choiceSetting("form", "form", &form, []choice[client.Form]{
		{"stored", client.FormStored}, {"json", client.FormJSON}, {"svg", client.FormSVG},
	}, "form of a memory log"), "")
	cmd.Flags().StringVarP(&file, "file", "f", "", "file to write, which must not exist (default, or -: standard output)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		server.timeout = max(server.timeout, time.Minute) // of the whole download
		return server.dialed(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			if file == "" || file == "-" {
				_, err := c.Download(ctx, args[0], form, 0, cmd.OutOrStdout())
				return err
			}
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			_, err = c.Download(ctx, args[0], form, 0, f)
			if err = errors.Join(err, f.Close()); err != nil {
				return errors.Join(err, os.Remove(file)) // what there is of it must not be taken for all of it
			}
			return nil
		})
	}
	return cmd
}

func newArtifactsPin() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pin ID...",
		Short: "Keep artifacts until they are unpinned or deleted",
		Long:  `Keep artifacts until they are unpinned or deleted. For operators.`,
		Example: examples(
			"headroom artifacts pin ABCDEFGHIJKLMNOPQRSTUVWXYZ",
			"headroom artifacts pin --unpin ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		),
		Args: oneID(true),
	}
	server, unpin := addServerFlags(cmd), false
	addFlag(cmd, switchSetting("unpin", &unpin, "let them expire again"), "")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return server.dialed(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			for _, id := range args {
				if _, err := c.PinArtifact(ctx, id, !unpin); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

func newArtifactsRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm ID...",
		Short: "Delete artifacts, pinned or not",
		Long:  `Delete artifacts, pinned or not: one's own, or any as an operator.`,
		Example: examples(
			"headroom artifacts rm ABCDEFGHIJKLMNOPQRSTUVWXYZ",
			"headroom artifacts rm $(headroom artifacts list -o json | jq -r .artifact_id)",
		),
		Args: oneID(true),
	}
	server := addServerFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return server.dialed(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			for _, id := range args {
				if err := c.DeleteArtifact(ctx, id); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}
