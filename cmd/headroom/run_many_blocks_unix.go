//go:build linux || darwin || freebsd

package main

import (
	"os"
	"syscall"
)

// noBlocksFree reports whether the file system of a file has no more room for this user. Root may have some left.
func noBlocksFree(file *os.File) bool {
	var fs syscall.Statfs_t
	return syscall.Fstatfs(int(file.Fd()), &fs) == nil && int64(fs.Bavail) <= 0
}
