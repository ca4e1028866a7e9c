package client

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// defaultTCP is where a server listens on TCP by default.
const defaultTCP = "127.0.0.1:7070"

// endpoint is one place where a server may be.
type endpoint struct {
	socket  string // path of a unix socket, or "" for TCP
	address string // host:port or dns:///host:port
	found   bool   // discovered, not named by the user
	shared  bool   // in a folder that others could have made
}

// DefaultSocket returns the path of the unix socket on which a server of this user listens: that of
// $HEADROOM_SOCKET, else /run/headroom/headroom.sock for root (/var/run outside Linux), else
// $XDG_RUNTIME_DIR/headroom.sock, else headroom-UID/headroom.sock in the temporary directory.
func DefaultSocket() string { return defaultSocket(os.Getenv, os.Geteuid()) }

func defaultSocket(getenv func(string) string, uid int) string {
	if path := getenv("HEADROOM_SOCKET"); path != "" {
		return path
	}
	switch {
	case uid == 0 && runSocket != "":
		return runSocket
	case filepath.IsAbs(getenv("XDG_RUNTIME_DIR")):
		return filepath.Join(getenv("XDG_RUNTIME_DIR"), "headroom.sock")
	default:
		return tempSocket(uid)
	}
}

// tempSocket returns the socket of a user in the temporary directory, which $TMPDIR names.
func tempSocket(uid int) string {
	folder := "headroom"
	if uid >= 0 { // negative where users have no numbers, and a temporary directory each
		folder += "-" + strconv.Itoa(uid)
	}
	return filepath.Join(os.TempDir(), folder, "headroom.sock")
}

// discover returns where a server of this host may be, in the order in which to try, tcp last. A socket that the
// environment names stands for all others, so that a program told of one server never lands on the socket
// of another.
func discover(getenv func(string) string, uid int, tcp string) []endpoint {
	var found []endpoint
	if path := getenv("HEADROOM_SOCKET"); path != "" {
		found = append(found, endpoint{socket: path, found: true})
	} else {
		if runSocket != "" {
			found = append(found, endpoint{socket: runSocket, found: true})
		}
		if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
			found = append(found, endpoint{socket: filepath.Join(dir, "headroom.sock"), found: true})
		}
		found = append(found, endpoint{socket: tempSocket(uid), found: true, shared: true})
	}
	return append(found, endpoint{address: tcp, found: true})
}

// parseEndpoint reads an address that the setting of the given name holds.
func parseEndpoint(setting, address string) ([]endpoint, error) {
	bad := fmt.Errorf("%s: %q is not of the form unix:///path, host:port or dns:///host:port", setting, address)
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return nil, bad
		}
		return []endpoint{{socket: path}}, nil
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(address, "dns:///"))
	if err != nil || strings.ContainsAny(address, " /?#") && !strings.HasPrefix(address, "dns:///") {
		return nil, bad
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("%s: port %q of %q is not a number from 1 to 65535", setting, port, address)
	}
	return []endpoint{{address: address}}, nil
}

// String returns the endpoint in the form of WithAddress.
func (e endpoint) String() string {
	if e.socket != "" {
		return "unix://" + e.socket
	}
	return e.address
}

func (e endpoint) hostPort() string { return strings.TrimPrefix(e.address, "dns:///") }

// local reports whether what is sent to e stays on this host.
func (e endpoint) local() bool {
	if e.socket != "" {
		return true
	}
	host, _, err := net.SplitHostPort(e.hostPort())
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || host == "localhost"
}

// target returns e for gRPC, which reads it as a URL: without escapes a path with a % or a ? in it would
// name another file.
func (e endpoint) target() string {
	if e.socket == "" {
		return "dns:///" + e.hostPort()
	}
	path := e.socket
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if path = filepath.ToSlash(path); strings.HasPrefix(path, "/") {
		return (&url.URL{Scheme: "unix", Path: path}).String()
	}
	return "unix:" + path
}

// check says why e should not be tried: a discovered socket that is not there, or one that another user
// may have put there.
func (e endpoint) check() error {
	if !e.found || e.socket == "" {
		return nil
	}
	if _, err := os.Stat(e.socket); err != nil {
		return err
	}
	if e.shared {
		return checkOwner(filepath.Dir(e.socket), os.Geteuid())
	}
	return nil
}
