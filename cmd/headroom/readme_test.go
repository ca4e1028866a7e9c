package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// blocks returns the fenced blocks of a file of the repository in a language, in order.
func blocks(t *testing.T, name, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	rest := string(text)
	for {
		_, after, ok := strings.Cut(rest, "```"+language+"\n")
		if !ok {
			break
		}
		block, after, ok := strings.Cut(after, "```")
		if !ok {
			t.Fatalf("%s: a %s block has no end", name, language)
		}
		found, rest = append(found, block), after
	}
	if len(found) == 0 {
		t.Fatalf("%s has no %s block", name, language)
	}
	return found
}

// TestREADMEShell runs every shell block of the README, in its order, as a reader would, but that `go run`
// runs this build and `go test` is left to whoever runs this test. Blocks that run until they are stopped
// run until they printed three lines, or, for the server, until the end.
func TestREADMEShell(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the blocks are for a POSIX shell")
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "headroom")); err != nil {
		t.Fatal(err)
	}
	const shim = `#!/bin/sh
case "$*" in
"run ./cmd/headroom "*) shift 2; exec headroom "$@" ;;
"test ./...") exit 0 ;;
*) echo "unexpected: go $*" >&2; exit 64 ;;
esac
`
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(shim), 0o755); err != nil {
		t.Fatal(err)
	}
	sockets, err := os.MkdirTemp("", "readme")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	env := append(os.Environ(),
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"HEADROOM_SOCKET="+filepath.Join(sockets, "s"),
		"HEADROOM_LISTEN=off", "HEADROOM_ADDR=", "HEADROOM_STATE_DIR="+t.TempDir(), // a server may run here
		"HEADROOM_LEASE_TTL=2s", "HEADROOM_LEASE_GRACE=100ms", // which is how long a new one grants nothing
		// The tests themselves must not look like load, or the block that waits for idleness waits for them.
		"HEADROOM_MAX_CPU_RATIO=1", "HEADROOM_MAX_MEMORY_RATIO=1", "HEADROOM_MAX_HOST_MEMORY_RATIO=1",
		"HEADROOM_MAX_EVENT_LOOP_DELAY=1m",
		"HEADROOM_DISABLE=pressure_cpu,pressure_memory,pressure_io,cpu_throttled,run_queue_wait",
	)
	shell := func(block string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", "exec "+strings.TrimSpace(block))
		if lines := strings.Split(strings.TrimSpace(block), "\n"); len(lines) > 1 {
			cmd = exec.CommandContext(t.Context(), "sh", "-euc", block)
		}
		cmd.Dir, cmd.Env = "../..", env
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 10 * time.Second
		return cmd
	}
	for _, block := range blocks(t, "README.md", "sh") {
		switch cmd := shell(block); {
		case strings.Contains(block, " serve"):
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Wait() })
			for t.Context().Err() == nil && shell("headroom health").Run() != nil { // each try is a process
			}
		case strings.Contains(block, " watch"):
			printsLines(t, cmd, block, 3)
		default:
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", strings.TrimSpace(block), err, out)
			}
		}
	}
}

func printsLines(t *testing.T, cmd *exec.Cmd, block string, n int) {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for i := range n {
		if !lines.Scan() {
			t.Errorf("%s: ended after %d lines", strings.TrimSpace(block), i)
			break
		}
	}
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait()
}

// TestGoInDocs compiles every Go block of the README and of the documents that have some.
func TestGoInDocs(t *testing.T) {
	t.Parallel()
	for _, block := range append(blocks(t, "README.md", "go"), blocks(t, "docs/profiles.md", "go")...) {
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "go", "vet", file)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s\nof\n%s", err, out, block)
		}
	}
}
