package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	hogEnv = "HEADROOM_TEST_HOG"
	mib    = 1 << 20
)

// TestHog is no test: it is a child that takes as many MiB of memory as each line of its standard input says, until
// that ends or the kernel kills it.
func TestHog(t *testing.T) {
	if os.Getenv(hogEnv) == "" {
		t.Skip("this is a child of TestMemoryHog")
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		n, err := strconv.Atoi(in.Text())
		if err != nil {
			t.Fatal(err)
		}
		// Not of the Go heap, which the race detector shadows.
		memory, err := unix.Mmap(-1, 0, n*mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(memory); i += os.Getpagesize() {
			memory[i] = 1
		}
	}
}

// A hog is a child of TestHog in a cgroup.
type hog struct {
	in    io.Writer
	ended chan struct{} // closed when it ended, and then how says how
	how   error
}

// take has the hog take some MiB more. One that was killed takes none.
func (h *hog) take(n int) { _, _ = fmt.Fprintln(h.in, n) }

// startHog starts a hog in the cgroup.
func (s served) startHog(g realGroup) *hog {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	child := g.command(self, "-test.run=^TestHog$")
	child.Env = append(s.env, hogEnv+"=1")
	in, err := child.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		s.t.Fatal(err)
	}
	h := &hog{in: in, ended: make(chan struct{})}
	go func() {
		defer close(h.ended)
		h.how = child.Wait()
	}()
	s.t.Cleanup(func() {
		in.Close()
		<-h.ended
	})
	return h
}

// A hog in a cgroup of 64 MiB is judged against that, and the top level is in effect before the kernel kills it. It
// takes a piece after each snapshot of memory, so that a busy host, on which those are late, makes it no faster, and
// none while the level is told to those who watch.
func TestMemoryHog(t *testing.T) {
	if raceDetector {
		t.Skip("with the memory of the race detector the programs fill the cgroup by themselves")
	}
	t.Parallel()
	const limit, topLevel = 64 * mib, 3
	for _, tt := range []struct {
		name   string
		inside bool // the server is in the cgroup too, and takes its part of it
		pace   int  // MiB a snapshot; what fills a cgroup within 6 of them is too fast to be foreseen
	}{
		{"watched", false, 4},
		{"shared", true, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newRealGroup(t, "hog-"+tt.name, "memory")
			g.set(g.memoryLimit, strconv.Itoa(limit))
			g.noSwap(limit)
			var s served
			if tt.inside {
				s = startServer(t, g)
			} else {
				s = startServer(t, realGroup{}, "--cgroup", g.path)
			}
			hog := s.startHog(g)
			limitSource := g.memoryLimit + " of " + g.path
			if m := s.newest("memory").Memory; m.MaxBytes != limit || m.LimitSource != limitSource {
				t.Errorf("judged against %d, %s; want %d, %s", m.MaxBytes, m.LimitSource, limit, limitSource)
			}
			// As many as a trend needs, so that all begins with what is known.
			s.await("six snapshots of memory", func() bool { return len(s.sample("memory")) >= 6 })

			severity := s.severity()
			snapshots, level := s.memorySnapshots()
			entered := regexp.MustCompile(fmt.Sprintf(`severity \d -> %d +\S.*\(%s\)`, topLevel, regexp.QuoteMeta(limitSource)))
			slow := time.After(3 * patience)
			for top := false; !top; {
				select {
				case line, ok := <-severity:
					if !ok {
						t.Fatal("severity --watch ended")
					}
					t.Log(line)
					if top = strings.Contains(line, fmt.Sprintf("-> %d", topLevel)); top && !entered.MatchString(line) {
						t.Errorf("severity says %q, want it to name %s", line, limitSource)
					}
				case _, ok := <-snapshots:
					if !ok {
						t.Fatal("the stream of snapshots ended")
					}
					if level() < topLevel {
						hog.take(tt.pace)
					}
				case <-hog.ended:
					t.Fatalf("ended with %v before level %d was in effect", hog.how, topLevel)
				case <-slow:
					t.Fatalf("level %d was not in effect within %v", topLevel, 3*patience)
				}
			}
			if n := g.kills(); n != 0 {
				t.Errorf("the kernel had killed %d when level %d was in effect, want 0", n, topLevel)
			}

			// That it was in danger shows in its end.
			for lives := true; lives; {
				select {
				case <-hog.ended:
					lives = false
				case _, ok := <-snapshots:
					if !ok {
						t.Fatal("the stream of snapshots ended")
					}
					hog.take(tt.pace)
				case <-slow:
					t.Fatalf("the hog lives after %v", 3*patience)
				}
			}
			var exit *exec.ExitError
			if !errors.As(hog.how, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Errorf("the hog ended with %v, want a kill by the kernel", hog.how)
			}
			if n := g.kills(); n != 1 {
				t.Errorf("the kernel killed %d, want 1", n)
			}
		})
	}
}

// The same hog without a limit is judged against the host.
func TestMemoryHogWithoutALimit(t *testing.T) {
	t.Parallel()
	g := newRealGroup(t, "hog-free", "memory")
	s := startServer(t, realGroup{}, "--cgroup", g.path)
	hog := s.startHog(g)
	hog.take(80)
	s.await("a hog of 64 MiB", func() bool {
		text, err := os.ReadFile(g.file(g.memoryUsage))
		if err != nil {
			t.Fatal(err)
		}
		used, err := strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil && used > 64*mib
	})
	seen := len(s.sample("memory"))
	s.await("a snapshot after that", func() bool { return len(s.sample("memory")) > seen })
	const host = "memory of the host"
	if got := s.newest("memory"); got.Memory.LimitSource != host || got.Memory.Tightest.LimitSource != host ||
		got.Memory.Tightest.UsedBytes < 64*mib {
		t.Errorf("judged %+v, want over 64 MiB of the %s", got, host)
	}
	select {
	case <-hog.ended:
		t.Errorf("the hog ended with %v, want it to live", hog.how)
	default:
	}
}

// A burner in a cgroup with half a CPU overloads that, however idle the host is; without the quota the host is
// judged.
func TestCPUBurner(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		quota bool
	}{
		{"quota", true},
		{"free", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newRealGroup(t, "burner-"+tt.name, "cpu", "cpuacct", "memory")
			if tt.quota {
				for name, text := range g.half {
					g.set(name, text)
				}
			}
			s := startServer(t, realGroup{}, "--cgroup", g.path)
			burner := g.command("sh", "-c", "while :; do :; done")
			s.start(burner)

			if !tt.quota {
				got := s.newest("cpu")
				if got.CPU.LimitSource != "CPUs of the host" || got.Source != "/proc/stat" || got.CPU.CapacityCores == 0.5 {
					t.Errorf("judged %+v, want the CPUs of the host by /proc/stat", got)
				}
				return
			}
			var got judgedSnapshot
			s.await("a CPU that is overloaded and throttled, and exit code 1 that says so", func() bool {
				got = s.newest("cpu")
				return got.Overloaded && got.CPU.ThrottledRatio > 0 && s.overloadedBy("cpu")
			})
			c := got.CPU
			if c.CapacityCores != 0.5 || c.LimitSource != g.cpuLimit+" of "+g.path {
				t.Errorf("judged %+v, want 0.5 cores by %s of %s", c, g.cpuLimit, g.path)
			}
			if c.HostUsedRatio > 0.9 {
				t.Skipf("others keep the host busy, so its share may be the greater one: %+v", c)
			}
			t.Logf("%+v", c)
			if want := g.cpuUsage + " of " + g.path; got.Source != want {
				t.Errorf("judged by %s, want %s", got.Source, want)
			}
		})
	}
}
