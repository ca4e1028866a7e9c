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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	gops "github.com/shirou/gopsutil/v3/process"
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
		var got snapshot.ProcessStatus
		for range 1000 { // a signal takes its time
			p = pass(t, s, false)
			i := p.Find(int32(pid))
			if i < 0 {
				t.Fatal("it is not there")
			}
			if got = p.Status[i]; got == want {
				return
			}
		}
		t.Errorf("status %v, want %v", got, want)
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
		takeRightsForTest()
		p, err := s.Scan(context.Background(), true)
		if err != nil {
			t.Error(err)
			p = new(snapshot.Processes)
		}
		visible <- p
	}()
	p = <-visible
	if i := p.Find(int32(os.Getpid())); i < 0 || !p.Known[i] || !p.Watch[i] {
		t.Errorf("the watched process is at %d of %d", i, p.Len())
	}
	if p.Find(1) >= 0 {
		t.Error("the first process is listed under hidepid=2")
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

func TestParseProcessStat(t *testing.T) {
	const rest = " S 7 8 9 0 -1 4194304 1 2 3 4 150 250 350 450 20 -5 3 0 12345 4096000 10 18446744073709551615 1 1 0\n"
	for _, comm := range []string{"x", "a b", "(x) R 1", ") S 1 2 (", "\n"} {
		e, err := parseStat([]byte("42 (" + comm + ")" + rest))
		want := snapshot.ProcessEntry{
			PID: 42, Parent: 7, Session: 9, Start: 12345, Known: true, User: 1500 * time.Millisecond, System: 2500 * time.Millisecond,
			ChildUser: 3500 * time.Millisecond, ChildSystem: 4500 * time.Millisecond, RSS: 10 * pageSize, VMS: 4096000,
			Threads: 3, Nice: -5, Status: snapshot.ProcessSleeping,
		}
		if err != nil || e != want {
			t.Errorf("%q: %+v, %v, want %+v", comm, e, err, want)
		}
	}
	for _, text := range []string{"", "1", "1 (x", "x (x) S 1", "1 (x) S 1 2 3", "1 (x) S x" + rest, "99999999999 (x)" + rest} {
		if e, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q: %+v, want an error", text, e)
		}
	}
}

func FuzzParseProcessStat(f *testing.F) {
	f.Add([]byte("42 (x) S 7 8 9 0 -1 4194304 1 2 3 4 150 250 350 450 20 -5 3 0 12345 4096000 10 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if e, err := parseStat(text); err == nil && (e.PID < 0 || e.User < 0 || e.ChildSystem < 0) {
			t.Errorf("%q: %+v", text, e)
		}
	})
}

// A container calls its first process 1.
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

// groups makes a cgroup in each hierarchy that counts CPU time, memory and tasks, as far as that can be done.
func groups(t testing.TB) (path string, join func(pid int)) {
	t.Helper()
	path = fmt.Sprintf("/headroom-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	var dirs []string
	mounts, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		t.Skip(err)
	}
	for _, m := range mounts {
		if slices.Contains(m.controllers, "cpuset") {
			continue // nothing can join a new one
		}
		dir := filepath.Join(m.point, path)
		if os.Mkdir(dir, 0o755) == nil {
			dirs = append(dirs, dir)
			t.Cleanup(func() {
				for range 100 {
					if os.Remove(dir) == nil {
						return
					}
					time.Sleep(time.Millisecond) // a killed process leaves a little later
				}
			})
		}
	}
	if len(dirs) == 0 {
		t.Skip("no cgroup can be made")
	}
	return path, func(pid int) {
		t.Helper()
		for _, dir := range dirs {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestGroup(t *testing.T) {
	path, join := groups(t)
	pid, said, stdin := shell(t, `read x; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read x`)
	join(pid)
	g, err := OpenGroup(path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if !g.OwnedBy(os.Geteuid()) || g.OwnedBy(os.Geteuid()+1) {
		t.Error("the group is not told to be ours and nobody else's")
	}
	before, err := g.Read(true)
	if err != nil || !before.CPUKnown {
		t.Fatalf("Read = %+v, %v, want CPU time", before, err)
	}
	fmt.Fprintln(stdin)
	line(t, said)
	for _, keep := range []bool{true, false} {
		after, err := g.Read(keep)
		if err != nil || after.CPU-before.CPU < 20*time.Millisecond || after.CPU-before.CPU > time.Minute {
			t.Errorf("keep=%v: CPU %v after %v, %v", keep, after.CPU, before.CPU, err)
		}
		if after.MemoryKnown && after.Memory <= 0 || after.TasksKnown && after.Tasks != 1 {
			t.Errorf("keep=%v: %+v, want some memory and one task", keep, after)
		}
	}
	if pids, err := g.PIDs(nil); err != nil || len(pids) != 1 || pids[0] != int32(pid) {
		t.Errorf("PIDs = %v, %v, want %d", pids, err, pid)
	}
	freezer := filepath.Join("/sys/fs/cgroup/freezer", path, "freezer.state")
	if os.WriteFile(freezer, []byte("FROZEN"), 0) == nil {
		r, err := g.Read(true)
		for patience := time.Now().Add(10 * time.Second); err == nil && !r.Frozen && time.Now().Before(patience); {
			r, err = g.Read(true) // first it is freezing
		}
		if err != nil || !r.Frozen {
			t.Errorf("frozen: %+v, %v", r, err)
		}
		os.WriteFile(freezer, []byte("THAWED"), 0)
	}
	if r, err := g.Read(true); err != nil || r.Frozen {
		t.Errorf("thawed: %+v, %v", r, err)
	}
	if n := testing.AllocsPerRun(100, func() { g.Read(true) }); n > 0 {
		t.Errorf("%v allocations a reading, want 0", n)
	}
	bare, err := OpenGroup(path)
	if err != nil {
		t.Fatal(err)
	}
	bare.stat = groupFile{} // as where the controller is not there
	bare.Close()
	if _, err := unix.FcntlInt(0, unix.F_GETFD, 0); err != nil {
		t.Errorf("closing a group closed the standard input: %v", err)
	}
	if _, err := OpenGroup("/"); err == nil {
		t.Error("the root was opened")
	}
	if _, err := OpenGroup(path + "/../none"); err == nil {
		t.Error("a group that does not exist was opened")
	}
}

// gopsutilFlat lists all processes by gopsutil, as one would who knows not to ask it for children, and reads what a
// sample has of those of a tree.
func gopsutilFlat(root int32) (found int) {
	all, err := gops.Processes()
	if err != nil {
		return 0
	}
	for _, p := range all {
		if parent, err := p.Ppid(); err == nil && (parent == root || p.Pid == root) {
			found++
			p.Times()
			p.MemoryInfo()
			p.NumThreads()
			p.CreateTime()
		}
	}
	return found
}

// BenchmarkScan is a pass over a tree of that many sleepers, beside the bare system calls for the same, and beside
// gopsutil.
func BenchmarkScan(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 5000} {
		b.Run(fmt.Sprintf("processes=%d", n), func(b *testing.B) {
			pid, said, _ := shell(b, fmt.Sprintf(`i=0; while [ $i -lt %d ]; do sleep 600 & i=$((i+1)); done; echo on; read x`, n-1))
			line(b, said)
			s := openProcesses(b, n+100)
			p := pass(b, s, true)
			watch := func() {
				for i := range p.Watch {
					p.Watch[i] = p.PID[i] == int32(pid) || p.Parent[i] == int32(pid)
				}
			}
			watch()
			p = pass(b, s, false)
			fds := append([]int32(nil), s.nowFD...)
			cpu := func() time.Duration {
				var r unix.Rusage
				unix.Getrusage(unix.RUSAGE_SELF, &r)
				return time.Duration(r.Utime.Nano() + r.Stime.Nano())
			}
			bare := func() {
				unix.Seek(s.proc, 0, unix.SEEK_SET)
				for {
					if n, _ := unix.Getdents(s.proc, s.list); n <= 0 {
						break
					}
				}
				for _, fd := range fds {
					if fd >= 0 {
						unix.Pread(int(fd), s.text, 0)
					}
				}
			}
			var scan, baseline time.Duration
			b.ReportAllocs()
			for b.Loop() {
				at := cpu()
				bare()
				mid := cpu()
				p = pass(b, s, false)
				scan, baseline = scan+cpu()-mid, baseline+mid-at
				fds = append(fds[:0], s.nowFD...)
			}
			b.ReportMetric(float64(scan.Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(scan)/float64(baseline), "x-bare")
			at := cpu()
			if found := gopsutilFlat(int32(pid)); found < n {
				b.Fatalf("gopsutil found %d processes of %d", found, n)
			}
			b.ReportMetric(float64(cpu()-at)*float64(b.N)/float64(scan), "x-cheaper-than-gopsutil")
		})
	}
}

func BenchmarkGroup(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("processes=%d", n), func(b *testing.B) {
			path, join := groups(b)
			pid, said, stdin := shell(b, fmt.Sprintf(`read x; i=1; while [ $i -lt %d ]; do sleep 600 & i=$((i+1)); done; echo on; read x`, n))
			join(pid)
			fmt.Fprintln(stdin)
			line(b, said)
			g, err := OpenGroup(path)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(g.Close)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := g.Read(true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// takeRightsForTest makes the calling goroutine's thread, for good, one that may look at nobody's processes.
func takeRightsForTest() {
	runtime.LockOSThread()
	unix.RawSyscall(unix.SYS_SETRESGID, 61234, 61234, 61234)
	unix.RawSyscall(unix.SYS_SETRESUID, 61234, 61234, 61234)
}
