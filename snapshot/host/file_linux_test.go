package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestKernelFileRefusesWhatIsNotAFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fifo, dir} {
		if text, err := newKernelFile(name).read(); !errors.Is(err, errNotRegular) {
			t.Errorf("read of %s = %q, %v; want %v", name, text, err, errNotRegular)
		}
	}
}

func TestProcessFilesAreFilesOnly(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"stat", "status", "smaps_rollup"} {
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, _, statErr := readStat(dir)
	_, statusErr := readStatus(dir)
	_, pssErr := readPSS(dir)
	for _, err := range []error{statErr, statusErr, pssErr} {
		if !errors.Is(err, errNotRegular) {
			t.Errorf("a FIFO: %v, want %v", err, errNotRegular)
		}
	}
}

// Of a read that hangs the runtime must be told: only the kernel's own files may be read without that.
func TestOnlyTheKernelIsTrustedToBePrompt(t *testing.T) {
	other := filepath.Join(t.TempDir(), "stat")
	if err := os.WriteFile(other, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		want bool
	}{{"/proc/version", true}, {"/proc/self/stat", true}, {other, false}} {
		f := newKernelFile(tt.name)
		if _, err := f.read(); err != nil {
			t.Fatal(err)
		}
		if f.ofKernel != tt.want {
			t.Errorf("%s is of the kernel: %v, want %v", tt.name, f.ofKernel, tt.want)
		}
		f.close()
	}
}

// A read of which the runtime is not told gives what one gives of which it is told, errors too.
func TestPromptRead(t *testing.T) {
	want, err := os.ReadFile("/proc/version")
	if err != nil {
		t.Fatal(err)
	}
	f := newKernelFile("/proc/version")
	defer f.close()
	for range 3 {
		if got, err := f.read(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("prompt %v: %q, %v; want %q", f.prompt, got, err, want)
		}
		f.prompt = true
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f = newKernelFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	defer f.close()
	if _, err := f.read(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	f.prompt = true
	if _, err := f.read(); !errors.Is(err, unix.ESRCH) {
		t.Errorf("stat of a process that is gone: %v, want %v", err, unix.ESRCH)
	}
}

func TestKernelFileIsTriedAgain(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	synctest.Test(t, func(t *testing.T) {
		f := newKernelFile(name)
		defer f.close()
		if _, err := f.read(); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("read = %v, want %v", err, fs.ErrNotExist)
		}
		if err := os.WriteFile(name, []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(retryAfter - time.Nanosecond)
		before := reads.Load()
		if _, err := f.read(); !errors.Is(err, fs.ErrNotExist) || reads.Load() != before {
			t.Errorf("just before 30 s: read = %v after %d system calls, want %v after none", err, reads.Load()-before, fs.ErrNotExist)
		}
		time.Sleep(time.Nanosecond)
		if text, err := f.read(); err != nil || string(text) != "1\n" {
			t.Errorf("after 30 s: read = %q, %v", text, err)
		}
	})
}

// A file of the kernel that is deleted under its descriptor is read anew; a file on a disk lives on, so the
// descriptor is closed here.
func TestKernelFileReadsAgainAfterItVanished(t *testing.T) {
	for err, again := range map[error]bool{unix.ENODEV: true, unix.ESRCH: true, unix.ENOENT: true, unix.EOPNOTSUPP: false, unix.EIO: false} {
		if got := deleted(&fs.PathError{Op: "read", Path: "x", Err: err}); got != again {
			t.Errorf("deleted(%v) = %v, want %v", err, got, again)
		}
	}
}

func TestKernelFileGrows(t *testing.T) {
	want := strings.Repeat("0123456789abcde\n", 10000)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*kernelFile{newKernelFile(name), newRecordFile(name)} {
		defer f.close()
		for range 2 {
			if got, err := f.read(); err != nil || string(got) != want {
				t.Errorf("records=%v: read %d bytes, %v; want %d", f.records, len(got), err, len(want))
			}
		}
	}
	if err := os.Truncate(name, 5<<20); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*kernelFile{newKernelFile(name), newRecordFile(name)} {
		defer f.close()
		if got, err := f.read(); err == nil {
			t.Errorf("records=%v: read %d bytes, want an error", f.records, len(got))
		}
	}
}

// Such files come in pieces: the kernel fills a page with whole records. smaps is longer than a page.
func TestKernelFileReadsEveryRecord(t *testing.T) {
	for _, name := range []string{"/proc/self/mountinfo", "/proc/diskstats", "/proc/self/smaps"} {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Skip(err)
		}
		f := newRecordFile(name)
		defer f.close()
		got, err := f.read()
		if err != nil || bytes.Count(got, []byte("\n")) < bytes.Count(want, []byte("\n"))*9/10 {
			t.Errorf("%s: %d lines, %v; want about %d", name, bytes.Count(got, []byte("\n")), err, bytes.Count(want, []byte("\n")))
		}
	}
}
