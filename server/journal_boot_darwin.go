package server

import "golang.org/x/sys/unix"

// bootID names the boot of the host. It is empty where that cannot be told.
func bootID() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}
