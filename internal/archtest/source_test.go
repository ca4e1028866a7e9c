package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A source is one parsed Go file of this module, by its slash-separated path below root.
type source struct {
	name string
	file *ast.File
	fset *token.FileSet
}

// in reports whether the file belongs to the package, or to one below it.
func (s source) in(name string) bool { return strings.HasPrefix(s.name, name+"/") }

// sources returns the files that people wrote, without tests.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		below := filepath.ToSlash(rel)
		base := entry.Name()
		if entry.IsDir() {
			if base == "testdata" || below == "tools" || below == "third_party" || len(below) > 1 && base[0] == '.' {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if !ast.IsGenerated(file) {
			all = append(all, source{below, file, fset})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// imported returns the name by which the file knows an import, or "" for one that it does not have.
func imported(file *ast.File, want string) string {
	for _, spec := range file.Imports {
		if got, err := strconv.Unquote(spec.Path.Value); err == nil && got == want {
			if spec.Name != nil {
				return spec.Name.Name
			}
			return path.Base(want)
		}
	}
	return ""
}

// One file decides which code an error has, so that one table in the documents can be true. Other files may
// only compare codes.
func TestCodesAreAssignedInOneFile(t *testing.T) {
	const codes, only = "google.golang.org/grpc/codes", "server/errors.go"
	for _, s := range sources(t) {
		name := imported(s.file, codes)
		if !s.in("server") || s.name == only || name == "" {
			continue
		}
		compared := make(map[ast.Expr]bool)
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op == token.EQL || n.Op == token.NEQ {
					compared[n.X], compared[n.Y] = true, true
				}
			case *ast.CaseClause:
				for _, expr := range n.List {
					compared[expr] = true
				}
			case *ast.SelectorExpr:
				from, ok := n.X.(*ast.Ident)
				if ok && from.Name == name && n.Sel.Name != "Code" && !compared[n] {
					t.Errorf("%v uses %s.%s; codes are assigned in %s",
						s.fset.Position(n.Pos()), name, n.Sel.Name, only)
				}
			}
			return true
		})
	}
}

// clocks names, for the packages that decide, the only files that may touch a clock. The rest is given the
// time.
var clocks = map[string][]string{
	"snapshot":      {"defaults.go", "prober.go", "rota.go", "run.go", "snapshotter.go", "ticks.go"},
	"severity":      {"handlers.go", "registration.go", "runner.go"},
	"severity/expr": nil,
	"permit":        nil,
	"limit":         nil,
	"task":          nil,
	"internal/jobs": nil,
	"internal/wire": nil,
	"pool":          {"options.go", "run.go", "task.go"},
}

func TestDecidingReadsNoClock(t *testing.T) {
	touches := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	for _, s := range sources(t) {
		allowed, decides := clocks[path.Dir(s.name)]
		name := imported(s.file, "time")
		if !decides || slices.Contains(allowed, path.Base(s.name)) || name == "" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(touches, sel.Sel.Name) {
				if from, ok := sel.X.(*ast.Ident); ok && from.Name == name {
					t.Errorf("%v touches a clock: %s.%s", s.fset.Position(n.Pos()), name, sel.Sel.Name)
				}
			}
			return true
		})
	}
}

// outside names the only files of the packages that decide which may touch files, the network or the system, and why.
var outside = map[string]string{
	"internal/jobs/printer.go": "it keeps what waits for its turn in a file that it is given",
	"pool/usage_unix.go":       "it asks for the CPU time of the process",
	"pool/usage_windows.go":    "it asks for the CPU time of the process",
}

func TestDecidingTouchesNothing(t *testing.T) {
	for _, s := range sources(t) {
		if _, decides := clocks[path.Dir(s.name)]; !decides || outside[s.name] != "" {
			continue
		}
		for _, spec := range s.file.Imports {
			from, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if top, _, _ := strings.Cut(from, "/"); slices.Contains([]string{"os", "net", "syscall"}, top) {
				t.Errorf("%s imports %s", s.name, from)
			}
		}
	}
}

// executes are the only files that may run a program, and why.
var executes = map[string]string{
	"cmd/headroom/diagnose_python.go": "it asks the user's Python whether a profiler is installed",
	"cmd/headroom/run_child.go":       "the user names the command on the command line",
	"cmd/headroom/run_many_job.go":    "the user names the command on the command line; it is looked up, to say what is wrong with it",
	"cmd/headroom/run_watchdog.go":    "it runs itself, to end the command",
	"cmd/headroom/severity_exec.go":   "the user names the command on the command line; nothing from the wire is run",
}

func TestNothingIsExecuted(t *testing.T) {
	for _, s := range sources(t) {
		for _, forbidden := range []string{"os/exec", "plugin"} {
			if forbidden == "os/exec" && executes[s.name] != "" {
				continue
			}
			if imported(s.file, forbidden) != "" {
				t.Errorf("%s imports %s", s.name, forbidden)
			}
		}
	}
}

func TestNothingPanics(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if name, ok := call.Fun.(*ast.Ident); ok && name.Name == "panic" {
					t.Errorf("%v: panic", s.fset.Position(call.Pos()))
				}
			}
			return true
		})
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	documented := make(map[string]bool) // by directory
	for _, s := range sources(t) {
		dir := path.Dir(s.name)
		documented[dir] = documented[dir] || s.file.Doc != nil
		for _, decl := range s.file.Decls {
			for _, name := range undocumented(decl) {
				t.Errorf("%v: %s has no comment that begins with its name", s.fset.Position(name.Pos()), name.Name)
			}
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no comment", dir)
		}
	}
}

// undocumented returns the exported names that a declaration makes without telling what they are. A comment
// above a group of constants or variables tells about all of them.
func undocumented(decl ast.Decl) []*ast.Ident {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		if decl.Name.IsExported() && onExported(decl.Recv) && !tells(decl.Doc, decl.Name.Name) {
			return []*ast.Ident{decl.Name}
		}
	case *ast.GenDecl:
		var names []*ast.Ident
		for _, spec := range decl.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && !tells(spec.Doc, spec.Name.Name) && !tells(decl.Doc, spec.Name.Name) {
					names = append(names, spec.Name)
				}
			case *ast.ValueSpec:
				if decl.Doc == nil && spec.Doc == nil && spec.Comment == nil {
					names = append(names, spec.Names...)
				}
			}
		}
		return slices.DeleteFunc(names, func(name *ast.Ident) bool { return !name.IsExported() })
	}
	return nil
}

// onExported reports whether a function is no method, or one of an exported type.
func onExported(recv *ast.FieldList) bool {
	if recv == nil {
		return true
	}
	of := recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if generic, ok := of.(*ast.IndexExpr); ok {
		of = generic.X
	}
	name, ok := of.(*ast.Ident)
	return !ok || name.IsExported()
}

// tells reports whether the comment begins as the comment of name should.
func tells(doc *ast.CommentGroup, name string) bool {
	words := strings.Fields(doc.Text())
	for len(words) > 0 && slices.Contains([]string{"A", "An", "The"}, words[0]) {
		words = words[1:]
	}
	return len(words) > 0 && strings.TrimRight(words[0], ",.:;'s") == strings.TrimRight(name, "s")
}

// foreign are words that say where the module was made or fetched, which is nobody's business and wrong for
// everybody else. They are broken up so that this file holds none of them.
var foreign = []string{
	"/wo" + "rk/", "/fa" + "rm/", "/ro" + "ot/", ".lib" + "rary", "/tm" + "p/bin", "/ho" + "me/",
	"proxy.gol" + "ang.org", "sum.gol" + "ang.org", "regis" + "try.npmjs", "py" + "pi.org", "doc" + "ker.io",
	"gc" + "r.io", "gh" + "cr.io", "qu" + "ay.io",
}

func TestNoForeignWordsInTrackedFiles(t *testing.T) {
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Skipf("not a checkout: %v", err)
	}
	for i, word := range foreign {
		foreign[i] = regexp.QuoteMeta(word)
	}
	words := regexp.MustCompile(strings.Join(foreign, "|"))
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if strings.HasPrefix(name, "third_party/") || strings.HasSuffix(name, ".sum") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue // removed and not yet committed, or a submodule
		}
		for n, line := range strings.Split(string(text), "\n") {
			if word := words.FindString(line); word != "" {
				t.Errorf("%s:%d holds %q", name, n+1, word)
			}
		}
	}
}
