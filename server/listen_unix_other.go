//go:build !linux && !darwin

package server

import (
	"errors"
	"fmt"
	"runtime"
)

// ListenUnix returns an error that wraps errors.ErrUnsupported: on this system the kernel does not say who
// connects to a unix socket.
func ListenUnix(path string) (*Listener, error) {
	return nil, fmt.Errorf("listen on %s: unix sockets that identify their callers on %s: %w; use TCP",
		path, runtime.GOOS, errors.ErrUnsupported)
}
