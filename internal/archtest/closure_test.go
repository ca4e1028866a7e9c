package archtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// closures says what a program takes on by importing a package: every module beside this one whose code is
// linked in, on any system, and how many of their packages on Linux. Either may fall; a rise is a decision.
var closures = []struct {
	name     string
	modules  []string
	packages int
}{
	{"snapshot", nil, 0},
	{"severity", nil, 0},
	{"memory", nil, 0},
	{"permit", nil, 0},
	{"limit", nil, 0},
	{"task", nil, 0},
	{"pool", nil, 0},
	{"internal/boottime", []string{"golang.org/x/sys"}, 1},
	{"client", []string{
		"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go",
		"golang.org/x/net",
		"golang.org/x/sys",
		"golang.org/x/text",
		"google.golang.org/genproto/googleapis/rpc",
		"google.golang.org/grpc",
		"google.golang.org/protobuf",
	}, 115},
}

func TestClosures(t *testing.T) {
	for _, tt := range closures {
		t.Run(tt.name, func(t *testing.T) {
			var modules []string
			for _, system := range systems {
				packages := 0
				for _, p := range goList(t, system, "-deps", "./"+tt.name) {
					name, ours := own(p.ImportPath)
					switch {
					case tt.name == "client" && ours && name == "server":
						t.Errorf("%s: client imports server", system)
					case p.Standard || ours:
					default:
						packages++
						modules = append(modules, p.Module.Path)
					}
				}
				if system == "linux" && packages != tt.packages {
					t.Errorf("packages of other modules on Linux: %d, want %d", packages, tt.packages)
				}
			}
			slices.Sort(modules)
			modules = slices.Compact(modules)
			t.Logf("%d modules:\n%s", len(modules), strings.Join(modules, "\n"))
			if !slices.Equal(modules, tt.modules) {
				t.Errorf("modules:\n%s\nwant:\n%s", strings.Join(modules, "\n"), strings.Join(tt.modules, "\n"))
			}
		})
	}
}

// Each module that go.mod asks for itself has a line that says why, and go.mod replaces none, so that the
// module means the same to those who import it.
func TestDependenciesAreRecorded(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/decisions/dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []any
	}
	if err := json.Unmarshal(goCommand(t, "linux", "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	for _, required := range mod.Require {
		if !required.Indirect && !strings.Contains(string(text), "| "+required.Path+" |") {
			t.Errorf("docs/decisions/dependencies.md has no line for %s", required.Path)
		}
	}
	if len(mod.Replace) > 0 {
		t.Errorf("go.mod replaces %d modules, want none", len(mod.Replace))
	}
}
