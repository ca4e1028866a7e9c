package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// tableMemory returns the file of a new table. It is on no disk: one that is full would have what is mapped fault.
func tableMemory() (*os.File, error) {
	fd, err := unix.MemfdCreate("headroom-run", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "memfd:headroom-run")
	if err := file.Truncate(int64(tableSize)); err != nil {
		_ = file.Close() // the first error says more
		return nil, err
	}
	return file, nil
}
