//go:build unix

package diagnostics_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func killSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// killedChild runs a child that is killed at the step, and returns what it told before.
func killedChild(t *testing.T, dir, step string) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "DIAGNOSTICS_CHILD="+dir, "DIAGNOSTICS_STEP="+step)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child ended with %v, want it killed", err)
	}
	told := strings.Fields(string(out))
	if len(told) == 0 {
		t.Fatal("the child told nothing")
	}
	return told
}
