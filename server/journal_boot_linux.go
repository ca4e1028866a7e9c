package server

import (
	"os"
	"strings"
)

// bootID names the boot of the host. It is empty where that cannot be told.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
