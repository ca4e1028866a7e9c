package archtest

import (
	"slices"
	"strings"
	"testing"
)

// A row says what one package may import of this module.
type row struct {
	floor int

	// imports are the packages that it may import; all of lower floors if any.
	imports []string
	any     bool

	// tests are those that its tests may import beside them.
	tests []string
}

// table is the import table of the architecture. A new edge or a new package is a change here, seen in
// review.
var table = map[string]row{
	"proto/headroom/v1": {floor: 0},
	"snapshot":          {floor: 0},
	"memory":            {floor: 0},
	"internal/boottime": {floor: 0},
	"internal/coarse":   {floor: 0},
	"internal/loopback": {floor: 0},
	"internal/mistake":  {floor: 0},
	"permit":            {floor: 0, imports: []string{"internal/mistake"}},

	"snapshot/host": {floor: 1, imports: []string{"snapshot"}},
	"severity":      {floor: 1, imports: []string{"snapshot"}},
	"severity/expr": {floor: 1, imports: []string{"severity", "snapshot"}},
	"limit":         {floor: 1, imports: []string{"snapshot"}},
	"task":          {floor: 1, imports: []string{"snapshot"}},

	"internal/garbage": {floor: 2},
	"internal/jobs":    {floor: 2},
	"internal/socket":  {floor: 2, tests: []string{"internal/loopback"}},
	"internal/spawn":   {floor: 2},

	"pool":        {floor: 2, imports: []string{"limit", "permit", "snapshot"}},
	"diagnostics": {floor: 2},

	"internal/wire": {floor: 2, imports: []string{"diagnostics", "permit", "proto/headroom/v1", "severity", "snapshot",
		"task"}},

	"client": {floor: 3, imports: []string{"diagnostics", "internal/boottime", "internal/coarse", "internal/socket", "internal/wire",
		"permit", "pool", "proto/headroom/v1", "severity", "snapshot", "task"}, tests: []string{"internal/loopback"}},
	"client/diagnose": {floor: 3, imports: []string{"client", "diagnostics"}, tests: []string{"proto/headroom/v1"}},
	"server": {floor: 3, imports: []string{"diagnostics", "internal/boottime", "internal/socket", "internal/wire", "limit", "permit",
		"proto/headroom/v1", "severity", "snapshot", "snapshot/host", "task"}, tests: []string{"internal/loopback"}},

	"cmd/headroom":      {floor: 4, any: true},
	"internal/sim":      {floor: 4, any: true},
	"internal/bench":    {floor: 4, any: true},
	"internal/realhost": {floor: 4, any: true},
	"internal/chaos":    {floor: 4, any: true},
	"internal/archtest": {floor: 4},
}

func (r row) allows(name string, test bool) bool {
	target, known := table[name]
	switch {
	case !known:
		return false
	case r.any && target.floor < r.floor:
		return true
	case test && slices.Contains(r.tests, name):
		return true
	}
	return slices.Contains(r.imports, name)
}

// own returns the name within this module of an imported path.
func own(path string) (name string, ok bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func TestImports(t *testing.T) {
	for _, system := range systems {
		t.Run(system, func(t *testing.T) {
			found := make(map[string]bool)
			for _, p := range goList(t, system, "./...") {
				name, _ := own(p.ImportPath)
				found[name] = true
				row, ok := table[name]
				if !ok {
					t.Errorf("package %s has no row in the import table", name)
					continue
				}
				check := func(paths []string, test bool, where string) {
					for _, path := range paths {
						imported, ok := own(path)
						if ok && imported != name && !row.allows(imported, test) {
							t.Errorf("%s imports %s%s, which its row does not allow", name, imported, where)
						}
					}
				}
				check(p.Imports, false, "")
				check(p.TestImports, true, " in tests")
				check(p.XTestImports, true, " in tests")
			}
			for name := range table {
				if !found[name] {
					t.Errorf("the import table has a row for %s, which does not exist", name)
				}
			}
		})
	}
}

// The table must itself keep its promises: arrows point to lower floors, or along the same one.
func TestTableGoesDown(t *testing.T) {
	for name, r := range table {
		for _, imported := range append(slices.Clone(r.imports), r.tests...) {
			target, ok := table[imported]
			if !ok {
				t.Errorf("the row of %s allows %s, which has no row", name, imported)
			} else if target.floor > r.floor {
				t.Errorf("the row of %s on floor %d allows %s on floor %d", name, r.floor, imported, target.floor)
			}
		}
	}
	if table["server"].allows("client", true) || table["client"].allows("server", true) {
		t.Error("the table lets server and client import each other")
	}
}
