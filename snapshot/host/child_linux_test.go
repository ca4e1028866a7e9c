package host_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shirou/gopsutil/v3/process"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

const (
	childEnv  = "HEADROOM_TEST_CHILD" // how many generations to start, as that many x
	sharedEnv = "HEADROOM_TEST_SHARED"
	private   = 48 << 20 // bytes that each child takes for itself
	shared    = 64 << 20 // bytes that all map
)

func TestMain(m *testing.M) {
	if os.Getenv(obedientEnv) != "" {
		if err := obey(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	generations, ok := os.LookupEnv(childEnv)
	if !ok {
		os.Exit(m.Run())
	}
	if err := child(generations); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child takes memory, starts the next generation, says so and lives until its standard input ends.
func child(generations string) error {
	// Not of the Go heap, which the race detector shadows.
	memory, err := unix.Mmap(-1, 0, private, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	touch(memory)
	region, err := mapShared(os.Getenv(sharedEnv))
	if err != nil {
		return err
	}
	if generations != "" {
		stop, err := startChild(generations[1:], os.Getenv(sharedEnv))
		if err != nil {
			return err
		}
		defer stop()
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	if memory[0] != 1 || region[0] != 1 {
		return fmt.Errorf("memory was lost")
	}
	return err
}

func touch(memory []byte) {
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
}

func mapShared(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	region, err := unix.Mmap(int(f.Fd()), 0, shared, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	touch(region)
	return region, nil
}

// startChild starts this binary as a child and waits until it and its descendants took their memory. stop
// ends them and waits for it.
func startChild(generations, sharedFile string) (stop func() error, err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+generations, sharedEnv+"="+sharedFile)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() error {
		stdin.Close()
		return cmd.Wait()
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		return nil, fmt.Errorf("child said %q, %v; it ended with %v", line, err, stop())
	}
	return stop, nil
}

func TestProcessMemoryOfRealChildren(t *testing.T) {
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		t.Skip(err)
	}
	name := filepath.Join(t.TempDir(), "shared")
	if err := os.WriteFile(name, make([]byte, shared), 0o600); err != nil {
		t.Fatal(err)
	}
	region, err := mapShared(name)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(region)
	read := host.NewSources(snapshot.ScopeProcess).Memory
	alone, err := read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if alone.Definition != "PSS of 1 process" || alone.Used < shared {
		t.Errorf("alone: %q, %d bytes; want PSS of 1 process, at least %d", alone.Definition, alone.Used, shared)
	}

	stop, err := startChild("x", name)
	if err != nil {
		t.Fatal(err)
	}
	family, err := read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if family.Definition != "PSS of 3 processes" {
		t.Errorf("with a child and a grandchild: %q, want PSS of 3 processes", family.Definition)
	}
	// What all three share counts once: twice more would be another 128 MiB.
	if grew := family.Used - alone.Used; grew < 2*private || grew > 2*private+shared {
		t.Errorf("the tree grew by %d bytes, want %d to %d", grew, 2*private, 2*private+shared)
	}

	if err := stop(); err != nil {
		t.Error(err)
	}
	after, err := read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.Definition != "PSS of 1 process" || after.Used > alone.Used+private {
		t.Errorf("after they ended: %q, %d bytes; want PSS of 1 process, about %d", after.Definition, after.Used, alone.Used)
	}
}

// gopsutil adds up the mappings of /proc/PID/smaps instead.
func TestProcessMemoryAgainstGopsutil(t *testing.T) {
	got, err := host.NewSources(snapshot.ScopeProcess).Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	self := process.Process{Pid: int32(os.Getpid())}
	maps, err := self.MemoryMaps(true)
	if err != nil || !strings.HasPrefix(got.Definition, "PSS of 1 process") {
		t.Skip(err, got.Definition)
	}
	want := int64((*maps)[0].Pss) << 10
	if slack := want/4 + 4<<20; got.Used < want-slack || got.Used > want+slack {
		t.Errorf("Used = %d, want within %d of %d", got.Used, slack, want)
	}
}

func BenchmarkCPU(b *testing.B) {
	read := host.NewSources(snapshot.ScopeHost).CPU
	read(b.Context()) // the first one waits
	b.ReportAllocs()
	for b.Loop() {
		read(b.Context()) // most follow too closely to have an answer, at the same cost
	}
}

func BenchmarkMemory(b *testing.B) {
	for _, scope := range []struct {
		name  string
		scope snapshot.Scope
	}{{"host", snapshot.ScopeHost}, {"process", snapshot.ScopeProcess}} {
		b.Run("scope="+scope.name, func(b *testing.B) {
			read := host.NewSources(scope.scope).Memory
			b.ReportAllocs()
			for b.Loop() {
				if _, err := read(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
