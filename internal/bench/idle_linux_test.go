package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/loopback"
)

func init() { roles["empty"] = runEmpty }

// BenchmarkIdle measures what the real program costs while nobody asks it anything, beside an empty gRPC server in
// Go, all at the same time.
//
//	%core           CPU time, user and system, of one core: in the least of the windows, as a server looks closer
//	                while others keep the CPUs busy
//	median-%core    the same in the median of the windows
//	MiB-anon        anonymous memory after all windows
//	wakeups/s       switches of its threads from waiting to running, in the same window as %core
//	empty-%core     the same of the empty server, and so on
//	x-empty-MiB     MiB-anon over that of the empty server
//	host-busy%      how busy the CPUs were with everything, in the same window as %core
//
// The server is once as it is without a setting, and once sampling every 100 ms with one subscriber to each state.
func BenchmarkIdle(b *testing.B) {
	for _, fast := range []bool{false, true} {
		b.Run(fmt.Sprintf("fast=%v", fast), func(b *testing.B) {
			var served, empty standby
			for b.Loop() {
				served, empty = measureIdle(b, fast, 5, 4*time.Second)
			}
			b.ReportMetric(100*served.core, "%core")
			b.ReportMetric(100*served.medianCore, "median-%core")
			b.ReportMetric(served.wakeups, "wakeups/s")
			b.ReportMetric(served.mebibytes, "MiB-anon")
			b.ReportMetric(100*empty.core, "empty-%core")
			b.ReportMetric(empty.mebibytes, "empty-MiB")
			b.ReportMetric(served.mebibytes/empty.mebibytes, "x-empty-MiB")
			b.ReportMetric(100*served.hostBusy, "host-busy%")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// TestIdle runs the benchmark once, for a short while, and holds the memory to its goal, which a busy machine does
// not change.
func TestIdle(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	served, empty := measureIdle(t, true, 1, time.Second)
	if served.core <= 0 || served.wakeups <= 0 || empty.mebibytes <= 0 {
		t.Errorf("measured %+v and %+v, want more than 0", served, empty)
	}
	// Go keeps some for each CPU, and of a huge page that a program did not ask for it may use little.
	pages, _ := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	bound := 24 + float64(runtime.NumCPU())/2
	if served.mebibytes > bound && !strings.Contains(string(pages), "[always]") {
		t.Errorf("%.1f MiB of anonymous memory, want at most %.1f", served.mebibytes, bound)
	}
}

// standby is what a process costs that has nothing to do.
type standby struct {
	core, medianCore float64 // share of one core
	wakeups          float64 // a second
	hostBusy         float64 // share of all CPUs
	mebibytes        float64 // anonymous
}

// measureIdle starts the program and the empty server and looks at both over the windows, after they settled.
func measureIdle(b testing.TB, fast bool, windows int, window time.Duration) (served, empty standby) {
	b.Helper()
	loopback.Need(b)                     // before anything is started
	dir, err := os.MkdirTemp("", "idle") // a socket's name must be short
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	address := "unix://" + filepath.Join(dir, "s")
	pid, stop := startProgram(b, dir, fast)
	defer stop()
	none, stopEmpty := start(b, "empty")
	defer stopEmpty()
	emptyPID := int(none.numbers(b)[0])

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := dialWhenUp(ctx, address)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if fast {
		watching, stopWatching := context.WithCancel(context.Background())
		defer stopWatching()
		go follow(watching, c)
	} else {
		c.Close()
	}
	pause(3 * time.Second) // so that the beginning is not in it

	all, idle := make([]standby, windows), make([]standby, windows)
	for i := range windows {
		all[i], idle[i] = look(b, pid, emptyPID, window)
	}
	return summary(all), summary(idle)
}

// look measures two processes over one window.
func look(b testing.TB, pid, emptyPID int, window time.Duration) (served, empty standby) {
	b.Helper()
	begun, busy := time.Now(), hostTicks(b)
	cpu, woken, emptyCPU, emptyWoken := cpuOf(b, pid), wakeupsOf(b, pid), cpuOf(b, emptyPID), wakeupsOf(b, emptyPID)
	pause(window)
	took := time.Since(begun).Seconds()
	after := hostTicks(b)
	host := float64(after[0]-busy[0]) / float64(max(after[1]-busy[1], 1))
	served = standby{
		core:      float64(cpuOf(b, pid)-cpu) / 1e9 / took,
		wakeups:   float64(wakeupsOf(b, pid)-woken) / took,
		hostBusy:  host,
		mebibytes: anonymousOf(b, pid),
	}
	empty = standby{
		core:      float64(cpuOf(b, emptyPID)-emptyCPU) / 1e9 / took,
		wakeups:   float64(wakeupsOf(b, emptyPID)-emptyWoken) / took,
		hostBusy:  host,
		mebibytes: anonymousOf(b, emptyPID),
	}
	return served, empty
}

// summary is the cheapest of the windows, with the memory of the last.
func summary(windows []standby) standby {
	last := windows[len(windows)-1].mebibytes
	slices.SortFunc(windows, func(a, b standby) int { return int((a.core - b.core) * 1e9) })
	s := windows[0]
	s.medianCore, s.mebibytes = windows[len(windows)/2].core, last
	return s
}

// buildProgram builds the program until the end of the test, where go builds too, and without the revision, which git
// does not tell of a checkout that belongs to another user.
func buildProgram(b testing.TB) string {
	b.Helper()
	dir, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "headroom")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	bin := filepath.Join(dir, "headroom")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "../../cmd/headroom")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build the program: %v\n%s", err, out)
	}
	return bin
}

// startProgram builds the program and runs its server on a socket in dir.
func startProgram(b testing.TB, dir string, fast bool) (pid int, stop func()) {
	b.Helper()
	bin := buildProgram(b)
	config := filepath.Join(dir, "none.yaml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	args := []string{"serve", "--config", config, "--listen", "127.0.0.1:0", "--socket", filepath.Join(dir, "s"),
		"--state-dir", filepath.Join(dir, "state")}
	if fast {
		for _, signal := range []string{"cpu", "memory", "event-loop", "client", "pressure"} {
			args = append(args, "--"+signal+"-interval", "100ms")
		}
	}
	cmd := exec.Command(bin, args...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return cmd.Process.Pid, func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		if err := cmd.Wait(); err != nil {
			b.Errorf("serve: %v", err)
		}
	}
}

func dialWhenUp(ctx context.Context, address string) (*client.Client, error) {
	for {
		c, err := client.Dial(ctx, client.WithAddress(address))
		if err == nil || ctx.Err() != nil {
			return c, err
		}
		pause(50 * time.Millisecond)
	}
}

// runEmpty serves gRPC without a service, and prints its pid.
func runEmpty(p *peer) error {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go grpc.NewServer().Serve(lis)
	if err := p.send(os.Getpid()); err != nil {
		return err
	}
	_, err = p.receive()
	return err
}

// cpuOf returns the CPU time of a process in ns. The times in /proc count in steps of 10 ms, by its clock they are
// exact.
func cpuOf(b testing.TB, pid int) int64 {
	b.Helper()
	var t unix.Timespec
	const scheduled = 2 // CPUCLOCK_SCHED
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		b.Fatalf("CPU time of process %d: %v", pid, err)
	}
	return t.Nano()
}

// wakeupsOf returns how often the threads of a process waited.
func wakeupsOf(b testing.TB, pid int) (n int64) {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range files {
		n += field(b, file, "voluntary_ctxt_switches:")
	}
	return n
}

// anonymousOf returns the anonymous memory of a process in MiB.
func anonymousOf(b testing.TB, pid int) float64 {
	b.Helper()
	return float64(field(b, fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Anonymous:")) / 1024
}

// field returns the number after a name at the beginning of a line.
func field(b testing.TB, file, name string) int64 {
	b.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			n, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				b.Fatalf("%s: %v", file, err)
			}
			return n
		}
	}
	b.Fatalf("%s has no %s", file, name)
	return 0
}

// hostTicks returns the ticks that the CPUs were busy, and all.
func hostTicks(b testing.TB) (ticks [2]int64) {
	b.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, word := range strings.Fields(line)[1:] {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			b.Fatalf("/proc/stat: %v", err)
		}
		if i > 7 { // guests are in user already
			break
		}
		ticks[1] += n
		if i != 3 && i != 4 { // idle, iowait
			ticks[0] += n
		}
	}
	return ticks
}

// follow reads states as they come until ctx is done.
func follow(ctx context.Context, c *client.Client) {
	for range c.Snapshots(ctx, client.WatchOptions{Interval: 100 * time.Millisecond}) {
	}
}
