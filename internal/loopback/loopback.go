// Package loopback tells tests whether programs of this machine reach each other over TCP.
package loopback

import (
	"net"
	"sync"
	"testing"
)

// Try connects to itself at 127.0.0.1, the first time it is called, and returns why it could not. In a network namespace
// whose loopback interface is down it cannot. It is safe for concurrent use.
var Try = sync.OnceValue(func() error {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer lis.Close()
	conn, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		return err
	}
	return conn.Close()
})

// Need skips a test where [Try] fails.
func Need(t testing.TB) {
	t.Helper()
	if err := Try(); err != nil {
		t.Skip("no TCP over loopback here:", err)
	}
}
