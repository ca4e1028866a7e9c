package server

import (
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

var umaskMu sync.Mutex

// bindPrivate binds a socket that has mode 0600 from its first instant. The mode comes from the umask, which
// is the whole process's: what other goroutines create meanwhile gets fewer permissions, never more.
func bindPrivate(path string) (net.Listener, error) {
	umaskMu.Lock()
	defer umaskMu.Unlock()
	defer unix.Umask(unix.Umask(0o177))
	return net.Listen("unix", path)
}
