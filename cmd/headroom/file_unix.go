//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// openNoWait opens a file for reading and does not wait for a writer where it is a FIFO.
func openNoWait(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// trusted reports why others could have written the file.
func trusted(info os.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("others may write it (mode %04o); chmod go-w", mode)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if own := uint32(os.Geteuid()); ok && stat.Uid != 0 && stat.Uid != own {
		return fmt.Errorf("belongs to uid %d; want root or uid %d", stat.Uid, own)
	}
	return nil
}
