//go:build linux || darwin

package server

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestListenUnixKeepsOthersOut(t *testing.T) {
	path := filepath.Join(shortDir(t), "made", "h.sock")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got, want := modeOf(t, filepath.Dir(path)), fs.ModeDir|0o700; got != want {
		t.Errorf("directory has mode %v, want %v", got, want)
	}
	if got, want := modeOf(t, path), fs.ModeSocket|0o600; got != want {
		t.Errorf("socket has mode %v, want %v", got, want)
	}
}

func TestBindLeavesNoInstantToOthers(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	path := filepath.Join(shortDir(t), "h.sock")
	l, err := bindPrivate(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got, want := modeOf(t, path), fs.ModeSocket|0o600; got != want {
		t.Errorf("with umask 0 the socket is born with mode %v, want %v", got, want)
	}
}

func TestListenUnixLetsTheGroupIn(t *testing.T) {
	const group = 4242
	dir := shortDir(t)
	if err := os.Chown(dir, -1, group); err != nil {
		t.Skip("only root may give a directory to a group that it is not in, and not in every container:", err)
	}
	path := filepath.Join(dir, "made", "h.sock")
	for _, when := range []string{"new directory", "existing directory"} {
		l, err := listenUnix(path, group)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]fs.FileMode{filepath.Dir(path): fs.ModeDir | 0o750, path: fs.ModeSocket | 0o660} {
			info, err := os.Lstat(name)
			if err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Lstat(name, &st); err != nil {
				t.Fatal(err)
			}
			if info.Mode() != want || st.Gid != group {
				t.Errorf("%s: %s has mode %v and group %d, want %v and %d", when, name, info.Mode(), st.Gid, want, group)
			}
		}
		l.Close()
		os.Chmod(filepath.Dir(path), 0o700)
	}
}

func TestListenUnixRefusesWhatIsNoSocket(t *testing.T) {
	dir := shortDir(t)
	for name, put := range map[string]func(path string) error{
		"file":      func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"symlink":   func(path string) error { return os.Symlink(filepath.Join(dir, "elsewhere"), path) },
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		path := filepath.Join(dir, name)
		if err := put(path); err != nil {
			t.Fatal(err)
		}
		before := modeOf(t, path)
		if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "not a socket") {
			t.Errorf("%s: ListenUnix = %v, want an error that says it is not a socket", name, err)
		}
		if got := modeOf(t, path); got != before {
			t.Errorf("%s: mode was %v and is %v", name, before, got)
		}
	}
}

func TestListenUnixNamesWhoServesTheSocket(t *testing.T) {
	path := filepath.Join(shortDir(t), "h.sock")
	want := fmt.Sprintf("pid %d, command", os.Getpid())

	foreign, err := net.Listen("unix", path) // one that knows nothing of our lock
	if err != nil {
		t.Fatal(err)
	}
	_, err = ListenUnix(path)
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), fmt.Sprintf("uid %d", os.Getuid())) {
		t.Errorf("beside another program: ListenUnix = %v, want an error with %q and the uid", err, want)
	}
	foreign.Close()

	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("beside another server: ListenUnix = %v, want an error with %q", err, want)
	}
	if conn, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first server's socket: %v, want it untouched", err)
	} else {
		conn.Close()
	}
}

func TestListenUnixNamesWhoIsStarting(t *testing.T) {
	path := filepath.Join(shortDir(t), "h.sock")
	lock, err := lockSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	want := fmt.Sprintf("pid %d", os.Getpid())
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("ListenUnix = %v, want an error with %q", err, want)
	}
}

// leaveSocket puts a socket at path that nobody serves, as a killed server does.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

func TestListenUnixReplacesADeadSocketOnce(t *testing.T) {
	path := filepath.Join(shortDir(t), "h.sock")
	leaveSocket(t, path)
	const starters = 16
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		winners []*Listener
	)
	for range starters {
		wg.Go(func() {
			l, err := ListenUnix(path)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			winners = append(winners, l)
		})
	}
	wg.Wait()
	if len(winners) != 1 {
		t.Fatalf("%d of %d starters listen, want 1", len(winners), starters)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the winner cannot be reached: %v", err)
	}
	conn.Close()
	winners[0].Close()
}

func TestListenUnixLeavesAnothersDeadSocket(t *testing.T) {
	path := filepath.Join(shortDir(t), "h.sock")
	leaveSocket(t, path)
	if err := os.Lchown(path, 65534, -1); err != nil {
		t.Skip("only root may give a socket to another user, and not in every container:", err)
	}
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "uid 65534") {
		t.Errorf("ListenUnix = %v, want an error that names uid 65534", err)
	}
	modeOf(t, path)
}

func TestCloseRemovesTheSocketItMade(t *testing.T) {
	path := filepath.Join(shortDir(t), "h.sock")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close = %v, want nil", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close the socket: %v, want it gone", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close = %v, want nil", err)
	}

	if l, err = ListenUnix(path); err != nil {
		t.Fatalf("ListenUnix after Close = %v, want nil", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	l.Close()
	modeOf(t, path) // another's socket stays
}

func TestListenUnixExplainsALongPath(t *testing.T) {
	path := filepath.Join(shortDir(t), strings.Repeat("x", 120))
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("ListenUnix = %v, want an error that states the most bytes", err)
	}
	longest := filepath.Join(shortDir(t), "")
	longest += "/" + strings.Repeat("x", longestSocketPath()-len(longest)-1)
	l, err := ListenUnix(longest)
	if err != nil {
		t.Fatalf("ListenUnix with a path of %d bytes = %v, want nil", len(longest), err)
	}
	l.Close()
}

func TestListenUnixRefusesADirectoryOfOthers(t *testing.T) {
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "h.sock")
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "0777") {
		t.Errorf("in a directory that all may write: ListenUnix = %v, want an error with its mode", err)
	}
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatalf("in a sticky directory: ListenUnix = %v, want nil", err)
	}
	l.Close()
	if err := os.Chown(dir, 65534, -1); err != nil {
		return // only root may, and not in every container
	}
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "uid 65534") {
		t.Errorf("in a directory of another user: ListenUnix = %v, want an error that names it", err)
	}
}

func TestListenUnixRefusesAPlantedLock(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "h.sock")
	target := writeFile(t, dir, "target", []byte("precious"))
	if err := os.Symlink(target, path+".lock"); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(path); err == nil {
		t.Error("with a symlink for a lock: ListenUnix = nil, want an error")
	}
	if text, _ := os.ReadFile(target); !bytes.Equal(text, []byte("precious")) {
		t.Errorf("the link's target holds %q", text)
	}
	os.Remove(path + ".lock")
	if err := unix.Mkfifo(path+".lock", 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("with a FIFO for a lock: ListenUnix = %v, want an error that says so", err)
	}
}

// shortDir returns a directory whose path leaves room for the name of a socket, which t.TempDir does not on
// every system.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
