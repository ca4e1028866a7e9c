//go:build !linux && !darwin

package server

import (
	"errors"
	"fmt"
	"net"
	"runtime"
)

// peerOf reports that the kernel does not say who connected.
func peerOf(*net.UnixConn) (peerProcess, error) {
	return peerProcess{}, fmt.Errorf("peer credentials on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
