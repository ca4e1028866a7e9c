package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// A given is one value that somebody gave to a setting, and where.
type given struct {
	name  string
	text  string
	where string // "FILE:LINE", "$VARIABLE" or "--flag"
	line  int    // in the file; 0 elsewhere
	shape string // what the file holds in place of a single value; empty for a value

	file string     // its path; empty elsewhere
	node *yaml.Node // what it holds
}

// A fault is one thing that is wrong with the settings.
type fault struct {
	where string // as of given
	line  int
	name  string
	text  string
	want  string // what is accepted
}

func (f fault) Error() string {
	parts := make([]string, 0, 4)
	name := f.name
	if f.where == "--"+name {
		name = ""
	}
	for _, part := range []string{f.where, name, f.text, f.want} {
		if part != "" {
			parts = append(parts, clean(part))
		}
	}
	return strings.Join(parts, ": ")
}

// faults is every fault at once, one to a line, those of the file first and in its order.
type faults []fault

func (fs faults) Error() string {
	// As an unsigned number the line 0, which is none, is the greatest of all.
	sorted := slices.SortedStableFunc(slices.Values(fs), func(a, b fault) int {
		return cmp.Compare(uint(a.line-1), uint(b.line-1))
	})
	lines := make([]string, len(fs))
	for i, f := range sorted {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// A recorder is the value of a flag while the command line is parsed. It accepts everything, so that the
// faults of all flags are reported with those of the file and the environment.
type recorder struct {
	setting *setting
	texts   []string
}

func (r *recorder) Set(text string) error { r.texts = append(r.texts, text); return nil }
func (r *recorder) String() string        { return r.setting.value.String() }
func (r *recorder) Type() string          { return r.setting.value.Type() }

// addFlags defines a flag for each setting and returns a function that returns what was given by flags.
func addFlags(flags *pflag.FlagSet, table []setting) func() []given {
	recorders := make([]*recorder, len(table))
	for i := range table {
		s := &table[i]
		recorders[i] = &recorder{setting: s}
		flag := flags.VarPF(recorders[i], s.name, "", s.usage())
		if s.unset != "" {
			flag.DefValue = s.unset
		}
		if s.isSwitch {
			flag.NoOptDefVal = "true"
		}
	}
	return func() []given {
		var all []given
		for _, r := range recorders {
			if len(r.texts) == 0 {
				continue
			}
			g := given{name: r.setting.name, text: r.texts[len(r.texts)-1], where: "--" + r.setting.name}
			if r.setting.isList {
				g.text = strings.Join(r.texts, ",")
			}
			all = append(all, g)
		}
		return all
	}
}

// fromEnvironment returns what was given by variables. An empty variable gives nothing, so that a
// compose file may pass one on that is not set.
func fromEnvironment(table []setting, lookup func(string) (string, bool)) []given {
	var all []given
	for i := range table {
		if text, ok := lookup(table[i].env()); ok && text != "" {
			all = append(all, given{name: table[i].name, text: text, where: "$" + table[i].env()})
		}
	}
	return all
}

// misspelt returns a warning for each variable of environ that is almost the name of a setting. One that
// is far from all is no mistake: Kubernetes sets HEADROOM_SERVICE_HOST and others beside a service of
// that name.
func misspelt(table []setting, environ []string) []string {
	var warnings []string
	known := []string{"HEADROOM_ADDR", "HEADROOM_CONFIG", "HEADROOM_TOKEN"}
	for i := range table {
		known = append(known, table[i].env())
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "HEADROOM_") || slices.Contains(known, name) {
			continue
		}
		if near := nearest(name, known); near != "" {
			warnings = append(warnings, fmt.Sprintf("$%s is not a setting; did you mean $%s?", clean(name), near))
		}
	}
	return warnings
}

// apply checks everything that was given, in the order of layers from the weakest to the strongest, and
// stores the strongest value of each setting in the table. It returns where the value of each setting
// came from, with no entry for a default, and every fault.
func apply(table []setting, layers ...[]given) (map[string]string, faults) {
	origin := map[string]string{}
	var wrong faults
	for _, layer := range layers {
		for _, g := range layer {
			s := find(table, g.name)
			if s == nil {
				wrong = append(wrong, unknownName(table, g))
				continue
			}
			if g.shape != "" && !(s.isList && g.shape == shapeList) {
				wrong = append(wrong, fault{g.where, g.line, g.name, g.shape, want(s.accepts, nil)})
				continue
			}
			if err := s.value.Set(g.text); err != nil {
				wrong = append(wrong, notAccepted(s, g, err)...)
				continue
			}
			origin[g.name] = g.where
		}
	}
	return origin, wrong
}

// notAccepted is the fault of a value that its setting does not accept, or of each item of a list.
func notAccepted(s *setting, g given, err error) faults {
	var items itemErrors
	if !errors.As(err, &items) {
		items = itemErrors{{g.text, err}}
	}
	var wrong faults
	for _, item := range items {
		wrong = append(wrong, fault{g.where, g.line, g.name, quoteOdd(item.item), want(s.accepts, item.err)})
	}
	return wrong
}

func unknownName(table []setting, g given) fault {
	names := make([]string, len(table))
	for i := range table {
		names[i] = table[i].name
	}
	if g.node != nil {
		names = append(append(names, severitySections...), permitsSection, diagnosticsSection)
	}
	want := "no such setting"
	if near := nearest(g.name, names); near != "" {
		want += "; did you mean " + near + "?"
	}
	return fault{where: g.where, line: g.line, name: quoteOdd(g.name), want: want}
}

func find(table []setting, name string) *setting {
	for i := range table {
		if table[i].name == name {
			return &table[i]
		}
	}
	return nil
}

// quoteOdd quotes a text that would not be seen as it is, and cuts a long one.
func quoteOdd(text string) string {
	const most = 60
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	if text == "" || strings.TrimSpace(text) != text || clean(text) != text {
		return fmt.Sprintf("%q", text)
	}
	return text
}

// nearest returns the name that is nearest to a misspelt one, or "" when none is near: at most two
// letters changed, added, lost or swapped, or one in three of a short name.
func nearest(name string, names []string) string {
	best, least := "", min(2, len(name)/3)+1
	for _, n := range names {
		if d := editDistance(name, n); d < least {
			best, least = n, d
		}
	}
	return best
}

// editDistance counts the bytes to change, add, lose or swap to make b from a (optimal string alignment).
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var before, last, row [65]int
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
