//go:build unix

package client

import (
	"fmt"
	"os"
	"syscall"
)

// checkOwner reports a folder in which a user other than root and uid could have put a socket. It follows
// no link: whoever may make the link could point it at any folder of ours.
func checkOwner(dir string, uid int) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("not trusted: %s is not a folder", dir)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("not trusted: the owner of %s is unknown", dir)
	}
	if stat.Uid != 0 && int64(stat.Uid) != int64(uid) {
		return fmt.Errorf("not trusted: %s belongs to user %d, neither to root nor to user %d", dir, stat.Uid, uid)
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return fmt.Errorf("not trusted: %s may be written by others (mode %04o)", dir, perm)
	}
	return nil
}
