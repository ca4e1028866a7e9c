package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/headroom-rpc/headroom"

// root is the directory of the module.
const root = "../.."

// systems are those that the module is built for. A rule holds on each.
var systems = []string{"linux", "darwin", "windows"}

// A listed is one package as the go command sees it.
type listed struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
	Module       struct{ Path string }
}

// goList returns what go list says of the packages on a system. It needs no network.
func goList(t *testing.T, system string, args ...string) []listed {
	t.Helper()
	out := goCommand(t, system, append([]string{
		"list", "-json=ImportPath,Standard,Imports,TestImports,XTestImports,Module"}, args...)...)
	var all []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// goCommand returns what the go command prints, in the module.
func goCommand(t *testing.T, system string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	// cgo as in the build that is released, whatever is set here.
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
	}
	return out
}
