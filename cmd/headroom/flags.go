package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A checkedFlag is a flag of its own, outside the layers; its error says what is accepted.
type checkedFlag struct {
	pflag.Value
	accepts string
}

func (f checkedFlag) Set(text string) error {
	err := f.Value.Set(text)
	if err == nil {
		return nil
	}
	return errors.New(want(f.accepts, err))
}

// addFlag defines a flag of cmd that belongs to no layer.
func addFlag(cmd *cobra.Command, s setting, shorthand string) {
	f := cmd.Flags().VarPF(checkedFlag{s.value, s.accepts}, s.name, shorthand, s.usage())
	if s.isSwitch {
		f.NoOptDefVal = "true"
	}
	if s.unset != "" {
		f.DefValue = s.unset
	}
	completeFlag(cmd, &s)
}

// completeFlag lets a shell offer the words that the flag of s accepts.
func completeFlag(cmd *cobra.Command, s *setting) {
	if len(s.words) > 0 {
		// It fails for a flag that is not defined, and this one was.
		_ = cmd.RegisterFlagCompletionFunc(s.name, cobra.FixedCompletions(s.words, cobra.ShellCompDirectiveNoFileComp))
	}
}

// flagsOf returns the flags of one group of settings; those that are no setting are the group "Flags".
func flagsOf(all *pflag.FlagSet, table []setting, group string) *pflag.FlagSet {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = false
	all.VisitAll(func(f *pflag.Flag) {
		of := "Flags"
		if s := find(table, f.Name); s != nil {
			of = s.group
		}
		if of == group {
			flags.AddFlag(f)
		}
	})
	return flags
}
