package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings that serve would use, and where each came from",
		Long: `Print the settings that "headroom serve" would use with the same file,
environment and flags, and where each value came from. With a fault anywhere,
print every fault instead and exit 64; so it also checks a file.`,
		Example: examples(
			"headroom config --config headroom.yaml    # check a file",
			"headroom config -o yaml > headroom.yaml   # write one",
		),
		Args: takes(cobra.NoArgs),
	}
	l := newLoader(cmd)
	output := "table"
	addFlag(cmd, choiceSetting("output", "form", &output, []choice[string]{{"table", "table"}, {"yaml", "yaml"}},
		"form of the output"), "o")
	cmd.SetUsageFunc(serveUsage(l.table))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, err := l.load()
		if err != nil {
			return err
		}
		for _, w := range e.warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "headroom: warning:", w)
		}
		if output == "yaml" {
			return printSettingsYAML(cmd.OutOrStdout(), e)
		}
		return printSettings(coloured(cmd.OutOrStdout()), e)
	}
	return cmd
}

func printSettings(w io.Writer, e *effective) error {
	rows := [][]cell{header("SETTING", "VALUE", "FROM")}
	for _, s := range e.table {
		value := s.value.String()
		if value == "" {
			value = "-"
		}
		rows = append(rows, []cell{{text: s.name}, {text: clean(value)}, {text: clean(e.from(s.name))}})
	}
	// In a table of their own, for conditions are far wider than settings.
	levels := append([][]cell{header("LEVEL", "VALUE", "FROM")}, e.settings.severity.rows()...)
	permits := append([][]cell{header("PERMITS", "VALUE", "FROM")}, e.settings.permits.rows(e.from("resource"))...)
	_, err := io.WriteString(w, formatTable(rows)+"\n"+formatTable(levels)+"\n"+formatTable(permits))
	return err
}

// printSettingsYAML prints a file that gives the same settings.
func printSettingsYAML(w io.Writer, e *effective) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	group := ""
	for _, s := range e.table {
		text := s.value.String()
		if text == "" && !s.isList {
			continue // nothing given and no default
		}
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: s.name}
		if s.group != group {
			group = s.group
			key.HeadComment = group
		}
		value := &yaml.Node{Kind: yaml.ScalarNode, Value: text, LineComment: clean(e.from(s.name))}
		if s.isList {
			value = sequence(s, value.LineComment)
		}
		root.Content = append(root.Content, key, value)
	}
	root.Content = append(root.Content, e.settings.severity.nodes()...)
	root.Content = append(root.Content, e.settings.permits.nodes()...)
	encoder := yaml.NewEncoder(w)
	if err := encoder.Encode(root); err != nil {
		return err
	}
	return encoder.Close()
}

func sequence(s setting, comment string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, LineComment: comment}
	if list, ok := s.value.(typed[[]string]); ok {
		for _, item := range *list.p {
			node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: item})
		}
	}
	return node
}

// from returns where the value of a setting came from.
func (e *effective) from(name string) string {
	if where := e.origin[name]; where != "" {
		return where
	}
	return "default"
}

// serveUsage returns the usage of a command that takes all settings: its flags by group.
func serveUsage(table []setting) func(*cobra.Command) error {
	return func(cmd *cobra.Command) error {
		w := cmd.OutOrStderr()
		fmt.Fprintf(w, "Usage:\n  %s\n\nExamples:\n%s\n", cmd.UseLine(), cmd.Example)
		local := cmd.LocalFlags()
		groups := []string{"Flags"}
		for _, s := range table {
			if groups[len(groups)-1] != s.group {
				groups = append(groups, s.group)
			}
		}
		for _, g := range groups {
			fmt.Fprintf(w, "\n%s:\n%s", g, flagsOf(local, table, g).FlagUsagesWrapped(80))
		}
		_, err := fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(`
Each setting is also a key of the file and, in capitals after HEADROOM_, a
variable of the environment, such as $HEADROOM_MAX_CPU_RATIO. Flags win over
variables, these over the file, and it over the defaults.`))
		return err
	}
}
