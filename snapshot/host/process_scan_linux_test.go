package host

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

func openProcesses(t testing.TB, maxHeld int) *ProcessScanner {
	t.Helper()
	s, err := OpenProcesses(maxHeld)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func pass(t testing.TB, s *ProcessScanner, all bool) *snapshot.Processes {
	t.Helper()
	p, err := s.Scan(context.Background(), all)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// shell runs a script that says a word once it is where the test wants it, and returns its pid and the end of its
// standard input, which it may wait for. It is killed with its session when the test ends.
func shell(t testing.TB, script string) (pid int, said *bufio.Reader, stdin io.WriteCloser) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		stdin.Close()
		cmd.Wait()
	})
	return cmd.Process.Pid, bufio.NewReader(out), stdin
}

func line(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	text, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

func TestScanOfThisHost(t *testing.T) {
	pid, said, _ := shell(t, `sleep 60 & echo $!; read x`)
	child, err := strconv.Atoi(line(t, said))
	if err != nil {
		t.Fatal(err)
	}
	// The kernel tells of CPU time in ticks, of user and system apart.
	for used := (unix.Rusage{}); time.Duration(used.Utime.Nano()+used.Stime.Nano()) < 50*time.Millisecond; {
		if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
			t.Fatal(err)
		}
	}
	s := openProcesses(t, 100)
	p := pass(t, s, false)
	self, root, leaf := p.Find(int32(os.Getpid())), p.Find(int32(pid)), p.Find(int32(child))
	if self < 0 || root < 0 || leaf < 0 {
		t.Fatalf("this process, its child and a grandchild are at %d, %d, %d of %d", self, root, leaf, p.Len())
	}
	if p.Parent[root] != p.PID[self] || p.Parent[leaf] != p.PID[root] || p.Session[leaf] != p.PID[root] {
		t.Errorf("parents %d, %d and session %d are not those that were made", p.Parent[root], p.Parent[leaf], p.Session[leaf])
	}
	if !p.Known[self] || p.RSS[self] < 1<<20 || p.VMS[self] < p.RSS[self] || p.Threads[self] < 2 || p.Start[leaf] < p.Start[root] ||
		p.Start[leaf] > p.Began || p.User[self]+p.System[self] <= 0 {
		t.Errorf("this process: known %v, RSS %d, VMS %d, %d threads, start %d, CPU %v and %v", p.Known[self], p.RSS[self],
			p.VMS[self], p.Threads[self], p.Start[self], p.User[self], p.System[self])
	}
	for i := 1; i < p.Len(); i++ {
		if p.PID[i-1] >= p.PID[i] {
			t.Fatalf("pids are not in order at %d", i)
		}
	}

	p.Watch[root] = true
	p = pass(t, s, false)
	root, leaf = p.Find(int32(pid)), p.Find(int32(child))
	if !p.Known[root] || !p.Watch[root] || p.Known[leaf] {
		t.Errorf("watched: known %v, watched %v; the other: known %v; want true, true, false", p.Known[root], p.Watch[root], p.Known[leaf])
	}
	if s.Held() != 1 {
		t.Errorf("%d files are held, want that of the watched one", s.Held())
	}
	if p = pass(t, s, true); !p.Known[p.Find(int32(child))] {
		t.Error("a pass over all did not read one that nobody watches")
	}
	p.Watch[p.Find(int32(pid))] = false
	if pass(t, s, false); s.Held() != 0 {
		t.Errorf("%d files are held after nobody watches, want 0", s.Held())
	}
}

func TestScanSeesStopAndEnd(t *testing.T) {
	pid, said, stdin := shell(t, `echo on; read x`)
	line(t, said)
	s := openProcesses(t, 100)
	p := pass(t, s, false)
	p.Watch[p.Find(int32(pid))] = true
	status := func(want snapshot.ProcessStatus) {
		t.Helper()
		// A signal takes effect once the process has a CPU, which may be late on a busy host.
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
			p = pass(t, s, false)
			i := p.Find(int32(pid))
			if i < 0 {
				t.Fatal("it is not there")
			}
			if p.Status[i] == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("status %v, want %v", p.Status[i], want)
			}
		}
	}
	status(snapshot.ProcessSleeping)
	unix.Kill(pid, unix.SIGSTOP)
	status(snapshot.ProcessStopped)
	unix.Kill(pid, unix.SIGCONT)
	status(snapshot.ProcessSleeping)
	stdin.Close()
	status(snapshot.ProcessZombie)
	unix.Wait4(pid, nil, 0, nil)
	if p = pass(t, s, false); p.Find(int32(pid)) >= 0 || s.Held() != 0 {
		t.Errorf("after its end it is at %d, %d files held", p.Find(int32(pid)), s.Held())
	}
}

// Whoever has the pid of a process that ended is another, in a held file and without one.
func TestScanOfPidUsedAgain(t *testing.T) {
	for _, held := range []int{0, 100} {
		t.Run(fmt.Sprintf("held=%d", held), func(t *testing.T) {
			s := openProcesses(t, held)
			first := forceful(t, 0)
			p := pass(t, s, false)
			i := p.Find(int32(first.Process.Pid))
			start := p.Start[i]
			p.Watch[i] = true
			pass(t, s, false)
			time.Sleep(2 * tick) // so that the second one begins in another tick
			end(first)
			second := forceful(t, first.Process.Pid)
			defer end(second)
			p = pass(t, s, false)
			i = p.Find(int32(second.Process.Pid))
			if i < 0 || p.Start[i] == start || p.Watch[i] {
				t.Errorf("at %d: start %d as that of the first %d, watched %v", i, p.Start[i], start, p.Watch[i])
			}
		})
	}
	t.Run("not watched", func(t *testing.T) {
		s := openProcesses(t, 0)
		first := forceful(t, 0)
		p := pass(t, s, false)
		start := p.Start[p.Find(int32(first.Process.Pid))]
		time.Sleep(2 * tick)
		end(first)
		second := forceful(t, first.Process.Pid)
		defer end(second)
		p = pass(t, s, false)
		if i := p.Find(int32(second.Process.Pid)); i < 0 || p.Start[i] == start || !p.Known[i] {
			t.Errorf("at %d: start %d as that of the first, known %v", i, p.Start[i], p.Known[i])
		}
	})
}

// forceful starts a process with the pid, or with any for 0.
func forceful(t *testing.T, pid int) *exec.Cmd {
	t.Helper()
	for range 200 {
		if pid > 0 {
			if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
				t.Skip("pids cannot be forced:", err)
			}
		}
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Skip(err)
		}
		if pid == 0 || cmd.Process.Pid == pid {
			return cmd
		}
		end(cmd) // somebody else was faster
	}
	t.Skip("others take pids too fast")
	return nil
}

func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// A mount of proc with hidepid hides what a watched process has become; its held file still tells.
func TestScanUnderHidepid(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("proc", dir, "proc", 0, ""); err != nil {
		t.Skip(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	t.Setenv("HOST_PROC", dir)
	s := openProcesses(t, 100)
	p := pass(t, s, false)
	p.Watch[p.Find(int32(os.Getpid()))] = true
	pass(t, s, false)
	if err := unix.Mount("proc", dir, "proc", unix.MS_REMOUNT, "hidepid=2"); err != nil {
		t.Skip(err)
	}
	visible := make(chan *snapshot.Processes)
	go func() {
		// A thread of its own that is nobody, and never runs anything else.
		runtime.LockOSThread()
		if !becomesNobody() {
			visible <- nil
			return
		}
		p, err := s.Scan(context.Background(), true)
		if err != nil {
			t.Error(err)
			p = new(snapshot.Processes)
		}
		visible <- p
	}()
	if p = <-visible; p == nil {
		t.Skip("root may not become another user in every container")
	}
	if i := p.Find(int32(os.Getpid())); i < 0 || !p.Known[i] || !p.Watch[i] {
		t.Errorf("the watched process is at %d of %d", i, p.Len())
	}
	if p.Find(1) >= 0 {
		t.Error("the first process is listed under hidepid=2")
	}
}

// The RSS is that of statm, which is read where the count of stat has moved; stat lags behind it.
func TestResidentMemoryIsThatOfStatm(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOST_PROC", dir)
	if err := os.Mkdir(filepath.Join(dir, "700"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(counted int, statm string) {
		t.Helper()
		for name, text := range map[string]string{
			"stat":  fmt.Sprintf("700 (x) S 1 700 700 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 99 4096000 %d 0\n", counted),
			"statm": statm,
		} {
			if err := os.WriteFile(filepath.Join(dir, "700", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := openProcesses(t, 10)
	for i, step := range []struct {
		counted   int
		statm     string
		all       bool
		wantPages int64
	}{
		{100, "1000 130 20 1 0 50 0\n", true, 130},  // nobody watches it yet
		{100, "1000 131 20 1 0 50 0\n", false, 131}, // its stat is opened, to be kept
		{100, "1000 140 20 1 0 50 0\n", false, 131}, // the count stands still
		{132, "1000 150 20 1 0 50 0\n", false, 150},
		{132, "1000 150 20 1 0 50 0\n", false, 150},
		{133, "", false, 133}, // what cannot be read leaves the count
		{134, "1000 x", false, 134},
	} {
		write(step.counted, step.statm)
		p := pass(t, s, step.all)
		if want := step.wantPages * pageSize; p.Len() != 1 || !p.Known[0] || p.RSS[0] != want {
			t.Errorf("step %d: RSS %v, known %v, want %d", i, p.RSS, p.Known, want)
		}
		p.Watch[0] = true
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	s := openProcesses(t, 1000)
	for range 3 {
		p := pass(t, s, false)
		for i := range p.Watch {
			p.Watch[i] = i%2 == 0
		}
	}
	if n := testing.AllocsPerRun(50, func() { pass(t, s, false) }); n > 0.5 { // others begin and end meanwhile
		t.Errorf("%v allocations a pass, want 0", n)
	}
}

func TestPSS(t *testing.T) {
	s := openProcesses(t, 10)
	p := pass(t, s, false)
	i := p.Find(int32(os.Getpid()))
	got, err := s.PSS(t.Context(), p.PID[i], p.Start[i])
	if err != nil || got < 1<<20 || got > p.VMS[i] {
		t.Errorf("PSS = %d, %v", got, err)
	}
	if got, err := s.PSS(t.Context(), p.PID[i], p.Start[i]+1); err != ErrNoProcess {
		t.Errorf("PSS of another with the pid = %d, %v, want ErrNoProcess", got, err)
	}
}

func TestResolvePID(t *testing.T) {
	if got, err := ResolvePID(t.Context(), os.Getpid(), 12345); err != nil || got != 12345 {
		t.Errorf("ResolvePID in our namespace = %d, %v, want it as it is", got, err)
	}
	cmd := exec.Command("sh", "-c", "sleep 60 & echo $$ $!; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer end(cmd)
	var inner, child int
	if _, err := fmt.Fscan(out, &inner, &child); err != nil || inner != 1 {
		t.Fatalf("it calls itself %d, %v, want 1", inner, err)
	}
	if got, err := ResolvePID(t.Context(), cmd.Process.Pid, 1); err != nil || got != cmd.Process.Pid {
		t.Errorf("ResolvePID(1) = %d, %v, want %d", got, err, cmd.Process.Pid)
	}
	got, err := ResolvePID(t.Context(), cmd.Process.Pid, child)
	p := pass(t, openProcesses(t, 0), false)
	if i := p.Find(int32(got)); err != nil || i < 0 || p.Parent[i] != int32(cmd.Process.Pid) {
		t.Errorf("ResolvePID(%d) = %d, %v, want a child of %d", child, got, err, cmd.Process.Pid)
	}
	if got, err := ResolvePID(t.Context(), cmd.Process.Pid, 999); err != ErrNoProcess {
		t.Errorf("ResolvePID(999) = %d, %v, want ErrNoProcess", got, err)
	}
}

// becomesNobody makes the calling thread, for good, one that may look at nobody's processes, if that is allowed.
func becomesNobody() bool {
	_, _, group := unix.RawSyscall(unix.SYS_SETRESGID, 61234, 61234, 61234)
	_, _, user := unix.RawSyscall(unix.SYS_SETRESUID, 61234, 61234, 61234)
	return group == 0 && user == 0
}
