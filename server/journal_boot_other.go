//go:build !linux && !darwin

package server

// bootID names the boot of the host. It is empty, as such systems do not tell.
func bootID() string { return "" }
