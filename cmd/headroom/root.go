package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot returns the command with all its subcommands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "headroom",
		Short: "Tell how much more work this machine can take",
		Long: `Headroom samples how loaded this machine is, judges it, and tells programs over
gRPC.

One "headroom serve" runs on each machine; every other command asks it.

` + exitHelp,
		Example: `  headroom serve     # serve this machine's load; no configuration needed
  headroom watch     # see it live, in a second terminal`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetFlagErrorFunc(usageError)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(),
		".LocalFlags.FlagUsages ", ".LocalFlags.FlagUsagesWrapped 80 "))
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(
		newServe(), newStatus(), newWatch(), newTop(), newSample(), newSeverity(), newRun(), newPermits(), newExplain(),
		newTask(), newTasks(), newDiagnose(), newArtifacts(),
		newDoctor(), newConfig(), newHealth(), newVersion(),
	)
	for _, cmd := range root.Commands() {
		if cmd.ValidArgsFunction == nil {
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	return root
}

// noSuchCommand refuses a word that is no command, and names one like it.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("no command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + orList(near) + "?"
	}
	return usageError(cmd, fmt.Errorf("%s", text))
}

// takes wraps a check of arguments so that a fault ends with the code of wrong usage.
func takes(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError(cmd, err)
		}
		return nil
	}
}

// run runs the program with the arguments after its name and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == watchdogArg {
		return beWatchdog()
	}
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	refuseOddShells(root)
	unprinted := checkHelp(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = unprinted()
	}
	return finish(stderr, err)
}

// refuseOddShells has cobra's command completion, which shows its help for any word, refuse a shell that it does not know.
// It takes the output that root then has.
func refuseOddShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Args, cmd.RunE = noSuchCommand, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}

// checkHelp has the help of all commands written at once, and returns a function that tells whether that failed:
// cobra itself does not look.
func checkHelp(root *cobra.Command) (unprinted func() error) {
	var failed error
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		out := cmd.OutOrStdout()
		var text bytes.Buffer
		cmd.SetOut(&text)
		help(cmd, args)
		cmd.SetOut(out)
		_, failed = out.Write(text.Bytes())
	})
	return func() error { return failed }
}

// examples indents the lines of a command's examples as cobra's help wants them.
func examples(lines ...string) string { return "  " + strings.Join(lines, "\n  ") }
