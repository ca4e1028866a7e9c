package main

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func TestHelpFitsATerminalAndHasExamples(t *testing.T) {
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		var out, errs strings.Builder
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		if code := run(context.Background(), args, &out, &errs); code != 0 || errs.Len() > 0 {
			t.Errorf("%s --help exits with %d and says %q", cmd.CommandPath(), code, errs.String())
		}
		for line := range strings.Lines(out.String()) {
			if utf8.RuneCountInString(line) > 81 {
				t.Errorf("%s --help: wider than 80 columns: %s", cmd.CommandPath(), line)
			}
		}
		if n := len(strings.Split(cmd.Example, "\n")); n != 2 {
			t.Errorf("%s has %d examples, want 2", cmd.CommandPath(), n)
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot())
}
