package expr

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
)

// A Fault is one thing that is wrong with a text.
type Fault struct {
	// Line and Column are where, both from 1. Columns count characters.
	Line, Column int

	// Text says what is wrong.
	Text string
}

// Error returns the fault after its place, as in "1:8: no such variable".
func (f Fault) Error() string { return fmt.Sprintf("%d:%d: %s", f.Line, f.Column, f.Text) }

// Faults is everything that is wrong with a text, in its order; at least one.
type Faults []Fault

// Error returns all faults, one to a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// maxFaults bounds what one text reports: past the first few the parser is guessing.
const maxFaults = 10

func (fs Faults) sorted() Faults {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	fs = slices.Compact(fs)
	return fs[:min(len(fs), maxFaults)]
}

func faultsOf(issues *cel.Issues) Faults {
	var all Faults
	for _, e := range issues.Errors() {
		f := Fault{Line: 1, Column: 1, Text: plain(e.Message)}
		if e.Location != nil && e.Location.Line() > 0 {
			f.Line, f.Column = e.Location.Line(), e.Location.Column()+1
		}
		all = append(all, f)
	}
	return all.sorted()
}

var (
	expecting = regexp.MustCompile(`(?s) expecting .*$`)
	operator  = regexp.MustCompile(`^found no matching overload for '[_@]?([^' ]+?)_?' applied to '(.*)'$`)
	unread    = regexp.MustCompile(`^(mismatched|extraneous) input `)
)

// plain rids a message of CEL of what says nothing to people who never saw its inside.
func plain(message string) string {
	message = strings.TrimPrefix(message, "Syntax error: ")
	message = strings.ReplaceAll(message, " (in container '')", "")
	message = strings.ReplaceAll(message, "undeclared reference to", "no such variable, function or constant:")
	message = expecting.ReplaceAllString(message, "")
	message = unread.ReplaceAllString(message, "unexpected ")
	message = strings.ReplaceAll(message, "'<EOF>'", "end")
	message = operator.ReplaceAllString(message, "no $1 of $2")
	message = strings.ReplaceAll(message, "google.protobuf.Duration", "duration")
	if strings.HasPrefix(message, "type conversion error from 'string' to 'duration'") {
		message = `no duration; want one such as "30s"`
	}
	return message
}
