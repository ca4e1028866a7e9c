package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	hogEnv  = "HEADROOM_TEST_HOG" // MiB a second
	hogTick = 50 * time.Millisecond
	mib     = 1 << 20
)

// TestHog is no test: it is a child that, once told, takes memory at a steady pace until the kernel kills it or its
// standard input ends.
func TestHog(t *testing.T) {
	pace, err := strconv.Atoi(os.Getenv(hogEnv))
	if err != nil {
		t.Skip("this is a child of TestMemoryHog")
	}
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return
	}
	end := make(chan struct{})
	go func() {
		defer close(end)
		_, _ = io.Copy(io.Discard, in)
	}()
	tick := time.NewTicker(hogTick)
	defer tick.Stop()
	begun, taken := time.Now(), 0
	for {
		// Not of the Go heap, which the race detector shadows. A late tick takes what it missed.
		due := int(time.Since(begun).Seconds()*float64(pace*mib)) &^ (os.Getpagesize() - 1)
		if more := due - taken; more > 0 {
			memory, err := unix.Mmap(-1, 0, more, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < more; i += os.Getpagesize() {
				memory[i] = 1
			}
			taken = due
		}
		select {
		case <-end:
			return
		case <-tick.C:
		}
	}
}

// startHog starts a hog in the cgroup, which takes memory once told to begin. ended is closed when it ended.
func (s served) startHog(g v1Group, pace int) (begin func(), ended <-chan struct{}, how func() error) {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	hog := g.command(self, "-test.run=^TestHog$")
	hog.Env = append(s.env, fmt.Sprintf("%s=%d", hogEnv, pace))
	in, err := hog.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := hog.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = hog.Wait()
	}()
	s.t.Cleanup(func() {
		in.Close()
		<-done
	})
	begin = func() {
		s.t.Helper()
		if _, err := fmt.Fprintln(in); err != nil {
			s.t.Fatal(err)
		}
	}
	return begin, done, func() error { <-done; return err }
}

// A hog in a cgroup of 64 MiB is judged against that, and the top level is in effect before the kernel kills it.
func TestMemoryHog(t *testing.T) {
	const limit, topLevel = 64 * mib, 3
	for _, tt := range []struct {
		name   string
		inside bool // the server is in the cgroup too, and takes its part of it
		pace   int  // MiB a second; what fills a cgroup within 6 s is too fast to be foreseen
	}{
		{"watched", false, 8},
		{"shared", true, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newV1Group(t, "hog-"+tt.name, "memory")
			g.set("memory.limit_in_bytes", strconv.Itoa(limit))
			var s served
			if tt.inside {
				s = startServer(t, g)
			} else {
				s = startServer(t, v1Group{}, "--cgroup", g.path)
			}
			begin, ended, how := s.startHog(g, tt.pace)
			limitSource := "memory.limit_in_bytes of " + g.path
			if m := s.newest("memory").Memory; m.MaxBytes != limit || m.LimitSource != limitSource {
				t.Errorf("judged against %d, %s; want %d, %s", m.MaxBytes, m.LimitSource, limit, limitSource)
			}
			// As many as a trend needs, so that all begins with what is known.
			s.await("six snapshots of memory", func() bool { return len(s.sample("memory")) >= 6 })

			transitions := s.transitions()
			begin()
			begun := time.Now()
			slow := time.After(2 * patience)
			for top := false; !top; {
				select {
				case got, ok := <-transitions:
					if !ok {
						t.Fatal("severity --watch ended")
					}
					top = got.To == topLevel
					if top && (len(got.Evidence) == 0 || got.Evidence[0].LimitSource != limitSource) {
						t.Errorf("entered for %+v, want a first evidence with the limit %s", got.Evidence, limitSource)
					}
					if top {
						t.Logf("after %v for %+v", time.Since(begun).Round(time.Millisecond), got.Evidence)
					}
				case <-ended:
					t.Fatalf("ended with %v before level %d was in effect", how(), topLevel)
				case <-slow:
					t.Fatalf("level %d was not in effect within %v", topLevel, 2*patience)
				}
			}
			if n := g.kills(); n != 0 {
				t.Errorf("the kernel had killed %d when level %d was in effect, want 0", n, topLevel)
			}

			// That it was in danger shows in its end.
			select {
			case <-ended:
			case <-slow:
				t.Fatalf("the hog lives after %v", 2*patience)
			}
			var exit *exec.ExitError
			if !errors.As(how(), &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Errorf("the hog ended with %v, want a kill by the kernel", how())
			}
			if n := g.kills(); n != 1 {
				t.Errorf("the kernel killed %d, want 1", n)
			}
			t.Logf("killed after %v", time.Since(begun).Round(time.Millisecond))
		})
	}
}

// The same hog without a limit is judged against the host.
func TestMemoryHogWithoutALimit(t *testing.T) {
	t.Parallel()
	g := newV1Group(t, "hog-free", "memory")
	s := startServer(t, v1Group{}, "--cgroup", g.path)
	begin, ended, how := s.startHog(g, 64)
	begin()
	s.await("a hog of 64 MiB", func() bool {
		text, err := os.ReadFile(g.file("memory.usage_in_bytes"))
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
	case <-ended:
		t.Errorf("the hog ended with %v, want it to live", how())
	default:
	}
}

// A burner in a cgroup with half a CPU overloads that, however idle the host is; without the quota the host is
// judged.
func TestCPUBurner(t *testing.T) {
	for _, tt := range []struct {
		name  string
		quota bool
	}{
		{"quota", true},
		{"free", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newV1Group(t, "burner-"+tt.name, "cpu", "cpuacct", "memory")
			if tt.quota {
				g.set("cpu.cfs_period_us", "100000")
				g.set("cpu.cfs_quota_us", "50000")
				g.set("cpu.shares", "100000") // so it gets its half however busy the host is
			}
			s := startServer(t, v1Group{}, "--cgroup", g.path)
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
			if c.CapacityCores != 0.5 || c.LimitSource != "cpu.cfs_quota_us of "+g.path {
				t.Errorf("judged %+v, want 0.5 cores by cpu.cfs_quota_us of %s", c, g.path)
			}
			if c.HostUsedRatio > 0.9 {
				t.Skipf("others keep the host busy, so its share may be the greater one: %+v", c)
			}
			t.Logf("%+v", c)
			if want := "cpuacct.usage of " + g.path; got.Source != want {
				t.Errorf("judged by %s, want %s", got.Source, want)
			}
		})
	}
}
