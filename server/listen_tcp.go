package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// ListenTCP listens on addr, HOST:PORT; an empty host is every address and port 0 one that is free. A host
// name is resolved once, to the address that is then used and judged. With tlsConf, from [LoadTLS], every
// connection is TLS. Without it, an address that other hosts can reach is refused unless insecure is true;
// then those others can still do nothing, but they are told so in the open. The error for a port that is
// taken names its owner if this user may know it.
func ListenTCP(addr string, tlsConf *tls.Config, insecure bool) (*Listener, error) {
	_, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q, which is to be HOST:PORT: %w", addr, err)
	}
	resolved, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q, which is to be HOST:PORT: %w", addr, err)
	}
	if tlsConf == nil && !insecure && !resolved.IP.IsLoopback() {
		return nil, fmt.Errorf("listen on %s: other hosts can reach it and nothing would be encrypted: give --tls-cert "+
			"and --tls-key, use a loopback address, or accept it with --insecure", resolved)
	}
	config := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	listener, err := config.Listen(context.Background(), "tcp", resolved.String())
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaeaddrinuse) {
		return nil, fmt.Errorf("listen on %s: the port is taken by %s: %w", resolved, portOwner(resolved), err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", resolved, err)
	}
	return &Listener{listener: listener, class: classTCP, tls: tlsConf}, nil
}

// wsaeaddrinuse is EADDRINUSE as Windows says it; no other system has an error of this number.
const wsaeaddrinuse = syscall.Errno(10048)
