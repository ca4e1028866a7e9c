//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunDoc runs the commands of docs/run.md, in their order and in one folder, and compares what they print.
func TestRunDoc(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin, dir := t.TempDir(), t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "headroom")); err != nil {
		t.Fatal(err)
	}
	environ := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LC_ALL=C",
		"HEADROOM_ADDR=unix://"+filepath.Join(dir, "none"), "HEADROOM_SOCKET="+filepath.Join(dir, "none"))
	var got, want strings.Builder
	for _, block := range blocks(t, "docs/run.md", "console") {
		want.WriteString(block)
		for line := range strings.Lines(block) {
			command, ok := strings.CutPrefix(line, "$ ")
			if !ok {
				continue
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
			cmd.Dir, cmd.Env = dir, environ
			out, _ := cmd.CombinedOutput() // it prints its exit code where that matters
			got.WriteString(line + string(out))
		}
	}
	if got.String() != want.String() {
		t.Errorf("docs/run.md says\n%s\nand this is printed:\n%s", &want, &got)
	}
}
