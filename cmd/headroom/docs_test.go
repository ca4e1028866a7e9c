package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/headroom-rpc/headroom/severity/expr"
)

var update = flag.Bool("update", false, "write the generated parts of docs/operations.md")

// TestOperationsDocIsFresh holds the table of settings, the language of conditions, the built-in levels and the
// exit codes in docs/operations.md to those of the program. `go test ./cmd/headroom -run Fresh -update` writes them.
func TestOperationsDocIsFresh(t *testing.T) {
	const path = "../../docs/operations.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	for name, part := range map[string]string{
		"settings":          settingsMarkdown(),
		"severity language": languageMarkdown(),
		"severity levels":   builtinLevelsYAML(t),
		"exit codes":        "```\n" + strings.TrimPrefix(exitHelp, "Exit codes:\n") + "```\n",
	} {
		begin, end := "<!-- "+name+": generated -->\n", "<!-- "+name+": end -->"
		before, rest, ok := strings.Cut(want, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no marks for %s", path, name)
		}
		want = before + begin + part + end + after
	}
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is out of date; run go test ./cmd/headroom -run Fresh -update", path)
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func settingsMarkdown() string {
	table := newServeSettings().table()
	describeDefaults(table)
	var b strings.Builder
	group := ""
	for _, s := range table {
		if s.group != group {
			group = s.group
			fmt.Fprintf(&b, "\n**%s**\n\n| setting | default | accepts | what it is |\n|---|---|---|---|\n", group)
		}
		unset := s.unset
		if unset == "" {
			unset = "none"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.name, unset, s.accepts, s.help)
	}
	return b.String() + "\n"
}

func languageMarkdown() string {
	var b strings.Builder
	variables, functions, constants := expr.Symbols()
	fmt.Fprintf(&b, "\n| variable | type | unit | what it is |\n|---|---|---|---|\n")
	for _, v := range variables {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", v.Name, v.Type, v.Unit, v.Help)
	}
	fmt.Fprintf(&b, "\n| function | type | what it is |\n|---|---|---|\n")
	for _, f := range functions {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, f.Type, f.Help)
	}
	fmt.Fprintf(&b, "\n| constant | type | what it is |\n|---|---|---|\n")
	for _, c := range constants {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.Name, c.Type, c.Help)
	}
	return b.String() + "\n"
}

func builtinLevelsYAML(t *testing.T) string {
	t.Helper()
	root := &yaml.Node{Kind: yaml.MappingNode, Content: new(severitySettings).nodes()}
	root.Content[0].HeadComment, root.Content[0].LineComment = "", ""
	text, err := yaml.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return "```yaml\n" + string(text) + "```\n"
}

// Whatever levels and permits docs/operations.md shows are without fault.
func TestSectionsInDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	levels, permits := 0, 0
	for block := range strings.SplitSeq(string(text), "```yaml\n") {
		block, _, _ = strings.Cut(block, "```")
		var wrong faults
		switch {
		case strings.HasPrefix(block, levelsSection+":"):
			levels++
			_, _, wrong = takeLevels(block)
		case strings.HasPrefix(block, permitsSection+":"):
			permits++
			_, wrong = takePermits(block)
		}
		if len(wrong) > 0 {
			t.Errorf("%s\n%v", block, wrong)
		}
	}
	if levels < 2 || permits < 1 {
		t.Errorf("%d blocks of levels and %d of permits, want at least 2 and 1", levels, permits)
	}
}
