//go:build unix

package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// distrusted returns why others than this user and root may have put there what info describes, or may put something
// in its place; nil where they could not. In a sticky directory they can only add what is their own.
func distrusted(info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("its owner is not known")
	}
	mode := info.Mode()
	if own := os.Geteuid(); stat.Uid != 0 && stat.Uid != uint32(own) {
		return fmt.Errorf("it belongs to uid %d (mode %04o), and must to uid %d or root", stat.Uid, mode.Perm(), own)
	}
	if mode.Perm()&0o022 != 0 && !(mode.IsDir() && mode&fs.ModeSticky != 0) {
		return fmt.Errorf("others may write it (uid %d, mode %04o): chmod go-w", stat.Uid, mode.Perm())
	}
	return nil
}
