package host_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// obedientEnv makes this binary a child that does what its standard input says.
const obedientEnv = "HEADROOM_TEST_OBEDIENT"

// obey does one command a line until the input ends, and answers each with a line of JSON.
func obey(in io.Reader, out io.Writer) error {
	h, err := host.Open(host.Config{Scope: snapshot.ScopeHost})
	if err != nil {
		return err
	}
	defer h.Close()
	var kept [][]byte
	answer := json.NewEncoder(out)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		verb, what, _ := strings.Cut(lines.Text(), " ")
		var result any
		var err error
		switch verb {
		case "enter": // the cgroup
			err = os.WriteFile(filepath.Join(what, "cgroup.procs"), []byte("0"), 0)
		case "take": // so many bytes
			var n int
			var memory []byte
			n, err = strconv.Atoi(what)
			if err == nil {
				// Not of the Go heap, which the race detector shadows.
				memory, err = unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			}
			touch(memory)
			kept = append(kept, memory)
		case "read": // the file
			var f *os.File
			f, err = os.Open(what)
			if err == nil {
				_, err = io.Copy(io.Discard, f)
				f.Close()
			}
		case "memory":
			result, err = h.Sources().Memory(context.Background())
		default:
			err = fmt.Errorf("no such command: %q", verb)
		}
		if err != nil {
			result = map[string]string{"Error": err.Error()}
		}
		if err := answer.Encode(result); err != nil {
			return err
		}
	}
	for _, memory := range kept {
		if memory[0] != 1 {
			return errors.New("memory was lost")
		}
	}
	return nil
}

// An obedient is a child that obeys.
type obedient struct {
	t      *testing.T
	in     io.Writer
	answer *json.Decoder
}

func startObedient(t *testing.T) obedient {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), obedientEnv+"=1")
	cmd.Stderr = os.Stderr
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
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the child ended with %v", err)
		}
	})
	return obedient{t, in, json.NewDecoder(out)}
}

// do has the child do the command and returns what it read.
func (o obedient) do(command string) snapshot.MemoryReading {
	o.t.Helper()
	if _, err := fmt.Fprintln(o.in, command); err != nil {
		o.t.Fatal(err)
	}
	var result struct {
		snapshot.MemoryReading
		Error string
	}
	if err := o.answer.Decode(&result); err != nil {
		o.t.Fatalf("%s: the child answered nothing: %v", command, err)
	}
	if result.Error != "" {
		o.t.Fatalf("%s: %s", command, result.Error)
	}
	return result.MemoryReading
}

func TestMemoryOfRealCgroup(t *testing.T) {
	const (
		limit = 64 * mib
		slack = 4 * mib // what the child takes besides, and what the kernel's counters lag
		file  = 16 * mib
	)
	for _, tt := range []struct {
		name  string
		below []string
	}{{"own", nil}, {"parent", []string{"child"}}} {
		t.Run("limit="+tt.name, func(t *testing.T) {
			h, dirs := realGroup(t, "memory", tt.name, tt.below...)
			h.set(t, dirs[0], h.limit, limit)
			name := filepath.Join(t.TempDir(), "file")
			child := startObedient(t)
			child.do("enter " + dirs[len(dirs)-1])

			first := child.do("memory")
			want := h.limit + " of " + h.path(dirs[0])
			if first.Total != limit || first.Limit != want || first.Used >= limit/4 {
				t.Fatalf("at first %d of %d bytes, %s; want less than %d of %d, %s",
					first.Used, first.Total, first.Limit, limit/4, limit, want)
			}
			if first.HostTotal <= limit {
				t.Errorf("HostTotal = %d, want that of the host", first.HostTotal)
			}

			child.do("take " + strconv.FormatInt(20*mib, 10))
			second := child.do("memory")
			if grew := second.Used - first.Used; grew < 20*mib-slack || grew > 20*mib+slack {
				t.Errorf("the working set grew by %d bytes when %d were taken", grew, 20*mib)
			}

			// The file is in the page cache of who reads it first.
			if err := os.WriteFile(name, make([]byte, file), 0o600); err != nil {
				t.Fatal(err)
			}
			forget(t, name)
			before := readInt(t, filepath.Join(dirs[0], h.usage))
			child.do("read " + name)
			if grew := readInt(t, filepath.Join(dirs[0], h.usage)) - before; grew < file/2 {
				t.Skipf("the file system has no page cache: usage grew by %d bytes", grew)
			}
			h.awaitSum(t, dirs)
			third := child.do("memory")
			if grew := third.Used - second.Used; grew > slack+h.activeFileOf(t, dirs[0]) || h.activeFileOf(t, dirs[0]) > file/2 {
				t.Errorf("the working set grew by %d bytes when a file of %d was read, of which %d are in use",
					grew, file, h.activeFileOf(t, dirs[0]))
			}
		})
	}
}

// forget drops the file from the page cache.
func forget(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}

func readInt(t *testing.T, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A process that is moved, whose old cgroup is then removed, is judged by the new one at once.
func TestMemoryOfRealCgroupThatVanishes(t *testing.T) {
	h, old := realGroup(t, "memory", "old", "child")
	_, next := realGroup(t, "memory", "next")
	h.set(t, old[0], h.limit, 64*mib)
	h.set(t, next[0], h.limit, 96*mib)
	watched, err := host.Open(host.Config{Scope: snapshot.ScopeHost, Cgroup: h.path(old[1])})
	if err != nil {
		t.Fatal(err)
	}
	defer watched.Close()

	child := startObedient(t)
	child.do("enter " + old[1])
	if got := child.do("memory"); got.Total != 64*mib {
		t.Errorf("Total = %d, want %d", got.Total, 64*mib)
	}
	if got, err := watched.Sources().Memory(t.Context()); err != nil || got.Total != 64*mib {
		t.Errorf("watched from outside: %d, %v; want %d", got.Total, err, 64*mib)
	}

	child.do("enter " + next[0])
	for _, dir := range []string{old[1], old[0]} {
		if err := unix.Rmdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if got := child.do("memory"); got.Total != 96*mib || got.Limit != h.limit+" of "+h.path(next[0]) {
		t.Errorf("after the move: %d, %s; want %d", got.Total, got.Limit, 96*mib)
	}
	for range 2 {
		if got, err := watched.Sources().Memory(t.Context()); err == nil || !strings.Contains(err.Error(), h.path(old[1])) {
			t.Errorf("watched from outside, after it was removed: %+v, %v; want an error that names it", got, err)
		}
	}

	// It was made anew, as when a container is started again.
	h.make(t, old)
	h.set(t, old[1], h.limit, 48*mib)
	if got, err := watched.Sources().Memory(t.Context()); err != nil || got.Total != 48*mib {
		t.Errorf("watched from outside, made anew: %d, %v; want %d", got.Total, err, 48*mib)
	}
}
