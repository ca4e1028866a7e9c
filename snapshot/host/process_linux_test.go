package host_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/snapshot/host"
)

func TestProcessOfThisHost(t *testing.T) {
	p, err := host.OpenProcess(t.Context(), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if !p.OwnedBy(os.Getuid()) || p.OwnedBy(os.Getuid()+1) {
		t.Errorf("owned by me %v, by another %v; want true, false", p.OwnedBy(os.Getuid()), p.OwnedBy(os.Getuid()+1))
	}
	got, err := p.Memory(t.Context())
	if err != nil || got.Used < 1<<20 || got.Used > 1<<34 || got.Definition == "" {
		t.Errorf("Memory = %+v, %v, want some megabytes and what they are", got, err)
	}
}

func TestProcessThatEnds(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "begun")
	bufio.NewReader(out).ReadString('\n')
	p, err := host.OpenProcess(t.Context(), cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got, err := p.Memory(t.Context()); err != nil || got.Used <= 0 {
		t.Errorf("Memory = %+v, %v", got, err)
	}
	in.Close()
	io.ReadAll(out)
	for { // until the kernel has it as a zombie, which closes the pipe a little earlier
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil || strings.Contains(string(text), ") Z ") {
			break
		}
	}
	if got, err := p.Memory(t.Context()); !errors.Is(err, host.ErrNoProcess) {
		t.Errorf("Memory of a process that nobody waited for yet = %+v, %v, want ErrNoProcess", got, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Memory(t.Context()); !errors.Is(err, host.ErrNoProcess) {
		t.Errorf("Memory of a process that ended = %+v, %v, want ErrNoProcess", got, err)
	}
	if _, err := host.OpenProcess(t.Context(), cmd.Process.Pid); !errors.Is(err, host.ErrNoProcess) {
		t.Errorf("OpenProcess of a process that ended = %v, want ErrNoProcess", err)
	}
}

func TestNoProcess(t *testing.T) {
	pids := []int{-1, 0, math.MaxInt32, math.MaxInt}
	if wide := int64(1)<<32 + int64(os.Getpid()); wide <= math.MaxInt { // no int is so great on 32 bits
		pids = append(pids, int(wide))
	}
	for _, pid := range pids {
		if _, err := host.OpenProcess(t.Context(), pid); !errors.Is(err, host.ErrNoProcess) {
			t.Errorf("OpenProcess(%d) = %v, want ErrNoProcess", pid, err)
		}
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		var tid int
		if _, err := fmt.Sscan(thread.Name(), &tid); err != nil || tid == os.Getpid() {
			continue
		}
		if _, err := host.OpenProcess(t.Context(), tid); !errors.Is(err, host.ErrNoProcess) {
			t.Errorf("OpenProcess of thread %d = %v, want ErrNoProcess", tid, err)
		}
	}
}

// Without a pidfd the start time tells a process apart from the next one of its pid.
func TestProcessOfAnotherProcfs(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOST_PROC", dir)
	status := func(pid int, state, uids string) {
		text := fmt.Sprintf("Name:\tx\nState:\t%s\nTgid:\t50\nUid:\t%s\n", state, uids)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(pid), "status"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeProc(t, dir, []fakeProc{{pid: 50, start: 100, rss: 3, pss: pss(10)}, {pid: 51, start: 100, rss: 3}})
	status(50, "S (sleeping)", "7\t7\t7\t7")
	status(51, "S (sleeping)", "7\t7\t7\t7") // a thread of 50
	if _, err := host.OpenProcess(t.Context(), 51); !errors.Is(err, host.ErrNoProcess) {
		t.Errorf("OpenProcess of a thread = %v, want ErrNoProcess", err)
	}
	p, err := host.OpenProcess(t.Context(), 50)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	check := func(step string, used int64, definition string, want error) {
		t.Helper()
		got, err := p.Memory(t.Context())
		if got.Used != used || got.Definition != definition || !errors.Is(err, want) {
			t.Errorf("%s: Memory = %+v, %v; want %d of %s, %v", step, got, err, used, definition, want)
		}
	}
	check("at first", 10<<10, "PSS", nil)
	status(50, "Z (zombie)", "7\t7\t7\t7")
	check("as a zombie", 0, "", host.ErrNoProcess)
	status(50, "S (sleeping)", "7\t7\t7\t7")
	os.Remove(filepath.Join(dir, "50", "smaps_rollup"))
	check("without PSS", 3*int64(os.Getpagesize()), "RSS", nil)
	writeProc(t, dir, []fakeProc{{pid: 50, start: 101, rss: 3, pss: pss(10)}})
	check("its pid given to another", 0, "", host.ErrNoProcess)
	os.RemoveAll(filepath.Join(dir, "50"))
	check("gone", 0, "", host.ErrNoProcess)

	writeProc(t, dir, []fakeProc{{pid: 50, start: 100, rss: 3}})
	status(50, "S (sleeping)", "7\t0\t0\t0")
	setuid, err := host.OpenProcess(t.Context(), 50)
	if err != nil || setuid.OwnedBy(7) || setuid.OwnedBy(0) {
		t.Errorf("a process with the set-user-ID bit: %v, owned by its user or by root; want by neither alone", err)
	}
}
