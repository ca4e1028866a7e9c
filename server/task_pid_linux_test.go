package server_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

var pidRounds = flag.Int("pid.rounds", 200, "how often the pid of a task is given to another process")

// However often the pid of a task goes to another process, no sample is of that. In a pid namespace of its own nobody
// else takes pids, so that nearly every round is one.
func TestPidUsedAgainIsNotSampled(t *testing.T) {
	const inside = "HEADROOM_TEST_PID_NAMESPACE"
	if os.Getenv(inside) != "" {
		reusePids(t)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", fmt.Sprint("-pid.rounds=", *pidRounds))
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Skip("no pid namespace:", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("in a pid namespace: %v\n%s", err, out.String())
	}
	if strings.Contains(out.String(), "--- SKIP") {
		t.Skip(out.String())
	}
}

// reusePids is for the first process of a pid namespace.
func reusePids(t *testing.T) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skip(err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		t.Skip(err)
	}
	force := func(pid int) error {
		return os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0)
	}
	if err := force(os.Getpid() + 1); err != nil {
		t.Skip("pids cannot be forced:", err)
	}
	spawn := func(t *testing.T, pid int) *exec.Cmd {
		for range 50 {
			if pid > 0 {
				if err := force(pid); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("sleep", "600")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if pid == 0 || cmd.Process.Pid == pid {
				return cmd
			}
			kill(cmd)
		}
		return nil
	}
	reused := 0
	round := func(t *testing.T) {
		first := spawn(t, 0)
		r := observeReal(t, first.Process.Pid, "")
		before := r.pass()
		kill(first)
		second := spawn(t, first.Process.Pid)
		if second == nil {
			return // a thread of this process has it
		}
		defer kill(second)
		reused++
		got := r.pass()
		// Within one tick of 10 ms both have one start time: the held file tells them apart.
		if got.Usage.Processes != 0 || !got.Processes[0].Ended || got.Usage.CPU < before.Usage.CPU {
			t.Errorf("pid %d was used again: %+v, want that the first has ended", second.Process.Pid, got.Processes[0])
		}
	}
	for i := range *pidRounds {
		if !t.Run(strconv.Itoa(i), round) {
			break
		}
	}
	if reused < *pidRounds*9/10 {
		t.Errorf("of %d rounds only %d used a pid again", *pidRounds, reused)
	}
}

func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}
