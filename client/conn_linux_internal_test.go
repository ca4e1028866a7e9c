package client

import (
	"net"
	"testing"

	"google.golang.org/grpc/mem"

	"github.com/headroom-rpc/headroom/internal/loopback"
)

// Connections without TLS are read and written by their sockets, also after gRPC cloned the credentials.
func TestPlaintextUsesSockets(t *testing.T) {
	loopback.Need(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &config{}
	got, info, err := c.credentials(endpoint{}).Clone().ClientHandshake(t.Context(), "", conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.(interface {
		ReadOnReady(int, mem.BufferPool) (*[]byte, int, error)
	}); !ok || info.AuthType() != "insecure" {
		t.Errorf("connection %T of type %q, want one that is read by its socket, and insecure", got, info.AuthType())
	}
}
