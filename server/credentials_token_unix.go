//go:build unix

package server

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openNonblock keeps the open of a FIFO from waiting for its other end.
const openNonblock = syscall.O_NONBLOCK | syscall.O_NOCTTY

// checkPrivate reports whether others than root and this user may read or change the file.
func checkPrivate(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o and holds secrets: nobody but its owner may read or write it; chmod 600 %s",
			path, mode, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d: it must belong to root or to uid %d", path, st.Uid, os.Geteuid())
	}
	return nil
}
