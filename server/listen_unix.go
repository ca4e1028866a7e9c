//go:build linux || darwin

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ListenUnix listens on a unix socket at path, in a directory that is made with mode 0700 if it does not
// exist. Only this user and root can connect: the socket has mode 0600. In /run/headroom, where the group
// headroom exists, the directory is 0750, the socket 0660, and both belong to the group. An existing
// directory must belong to this user or to root and be writable by nobody else, unless it is sticky.
//
// A path that is no socket is refused, and so is a live socket, with an error that names its owner. A socket
// that nobody serves is replaced if it belongs to this user. A lock on the file PATH.lock, held until Close,
// keeps two starters apart; the file stays, because starters that could remove it could lock two files of
// one name. Close removes the socket.
//
// On systems other than Linux and macOS it returns an error that wraps errors.ErrUnsupported.
func ListenUnix(path string) (*Listener, error) {
	workers := lookupGroup(workerGroup)
	group := -1
	if filepath.Dir(filepath.Clean(path)) == sharedDirectory {
		group = workers
	}
	l, err := listenUnix(filepath.Clean(path), group)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.workers = workers
	return l, nil
}

// sharedDirectory is where a server of the whole host has its socket.
const sharedDirectory = "/run/headroom"

// lookupGroup returns the id of the named group, or -1.
func lookupGroup(name string) int {
	group, err := user.LookupGroup(name)
	if err != nil {
		return -1
	}
	id, err := strconv.Atoi(group.Gid)
	if err != nil {
		return -1
	}
	return id
}

// listenUnix listens on path for this user and, unless it is -1, for group.
func listenUnix(path string, group int) (*Listener, error) {
	if longest := longestSocketPath(); len(path) > longest {
		return nil, fmt.Errorf("the path has %d bytes and a socket's has at most %d: choose a shorter directory",
			len(path), longest)
	}
	if err := prepareDirectory(filepath.Dir(path), group); err != nil {
		return nil, err
	}
	lock, err := lockSocket(path)
	if err != nil {
		return nil, err
	}
	listener, identity, err := bindLocked(path, group)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &Listener{
		listener: listener,
		class:    classUnix,
		ownUID:   os.Geteuid(),
		workers:  -1,
		closing: func() {
			// Not by name alone: what stands there may be another's by now.
			if info, err := os.Lstat(path); err == nil && os.SameFile(info, identity) {
				os.Remove(path)
			}
			lock.Close()
		},
	}, nil
}

// longestSocketPath is the length of sun_path less the NUL at its end.
func longestSocketPath() int {
	if runtime.GOOS == "linux" {
		return 107
	}
	return 103
}

// prepareDirectory makes the directory of a socket, or checks that nobody can put another socket into it.
func prepareDirectory(dir string, group int) error {
	mode := fs.FileMode(0o700)
	if group >= 0 {
		mode = 0o750
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	made := false
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		made = true
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	owner := ownerOf(info)
	if own := os.Geteuid(); owner != own && owner != 0 {
		return fmt.Errorf("directory %s belongs to uid %d, who could put another socket there: it must belong to uid %d "+
			"or root", dir, owner, own)
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("directory %s has mode %04o, so others could put another socket there: chmod go-w %s", dir, perm, dir)
	}
	if !made && (group < 0 || owner != os.Geteuid()) {
		return nil
	}
	if group >= 0 {
		if err := os.Chown(dir, -1, group); err != nil {
			return err
		}
	}
	return os.Chmod(dir, mode)
}

func ownerOf(info fs.FileInfo) int {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return int(st.Uid)
}

// lockSocket takes the lock that belongs to path. The file holds the pid of whoever has it.
func lockSocket(path string) (*os.File, error) {
	name := path + ".lock"
	lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := lock.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a regular file", name)
	case ownerOf(info) != os.Geteuid():
		err = fmt.Errorf("%s belongs to uid %d, not to uid %d", name, ownerOf(info), os.Geteuid())
	default:
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = inUse(path, lock)
		}
	}
	if err == nil {
		err = lock.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(lock, "%d\n", os.Getpid())
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// inUse says who has the socket at path whose lock is taken.
func inUse(path string, lock *os.File) error {
	if err := probe(path); err != nil {
		return err
	}
	text, _ := io.ReadAll(io.LimitReader(lock, 32))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return fmt.Errorf("%s is starting or stopping on it", describe(pid))
}

// describe is describeProcess within ownerTimeout.
func describe(pid int) string {
	ctx, cancel := context.WithTimeout(context.Background(), ownerTimeout)
	defer cancel()
	return describeProcess(ctx, pid)
}

// probeTimeout bounds a connect to a socket whose server does not accept.
const probeTimeout = time.Second

// probe returns nil if nobody serves the socket at path, and else an error that names who does.
func probe(path string) error {
	conn, err := net.DialTimeout("unix", path, probeTimeout)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil
	case err != nil:
		return fmt.Errorf("a socket stands there and it cannot be told whether it is served: %w", err)
	}
	defer conn.Close()
	owner := "a process that could not be found out"
	if peer, err := peerOf(conn.(*net.UnixConn)); err == nil {
		owner = fmt.Sprintf("%s, uid %d", describe(peer.pid), peer.uid)
	}
	return fmt.Errorf("it is served by %s: stop that, or choose another path", owner)
}

// bindLocked binds path, whose lock is held, and returns the identity of the socket's file.
func bindLocked(path string, group int) (_ net.Listener, _ fs.FileInfo, err error) {
	if err := clearPath(path); err != nil {
		return nil, nil, err
	}
	bound, err := bindPrivate(path)
	if err != nil {
		return nil, nil, err
	}
	listener := bound.(*net.UnixListener)
	listener.SetUnlinkOnClose(false)
	defer func() {
		if err != nil {
			os.Remove(path)
			listener.Close()
		}
	}()
	mode := fs.FileMode(0o600)
	if group >= 0 {
		mode = 0o660
		if err := os.Chown(path, -1, group); err != nil {
			return nil, nil, err
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, nil, err
	}
	info, err := os.Lstat(path)
	return listener, info, err
}

// clearPath removes a socket of this user that nobody serves. It refuses anything else.
func clearPath(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("it exists and is not a socket (mode %v): choose another path, or remove it", info.Mode())
	}
	if err := probe(path); err != nil {
		return err
	}
	if owner := ownerOf(info); owner != os.Geteuid() {
		return fmt.Errorf("nobody serves the socket, and it belongs to uid %d, not to uid %d: remove it", owner, os.Geteuid())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
