package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated parts of docs/operations.md")

// TestOperationsDocIsFresh holds the table of settings and the exit codes in docs/operations.md to those
// of the program. `go test ./cmd/headroom -run Fresh -update` writes them.
func TestOperationsDocIsFresh(t *testing.T) {
	const path = "../../docs/operations.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	for name, part := range map[string]string{
		"settings":   settingsMarkdown(),
		"exit codes": "```\n" + strings.TrimPrefix(exitHelp, "Exit codes:\n") + "```\n",
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
