package client

import (
	"context"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/headroom-rpc/headroom/internal/socket"
)

// plaintext is the credentials of connections without TLS, which it reads and writes by their sockets: a worker that
// sleeps until it is given a permit is then woken for less. It is a handshake, and no dialer, since gRPC sets up what it
// dials itself, as by the proxy that the environment names.
type plaintext struct {
	credentials.TransportCredentials
}

func newPlaintext() plaintext { return plaintext{insecure.NewCredentials()} }

// ClientHandshake implements credentials.TransportCredentials.
func (p plaintext) ClientHandshake(
	ctx context.Context, authority string, conn net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := p.TransportCredentials.ClientHandshake(ctx, authority, conn)
	if s, ok := socket.Of(conn); ok && err == nil {
		conn = &socketConn{conn, s}
	}
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (p plaintext) Clone() credentials.TransportCredentials {
	return plaintext{p.TransportCredentials.Clone()}
}

// socketConn is a connection that is read and written by its socket.
type socketConn struct {
	net.Conn
	socket *socket.Socket
}

func (c *socketConn) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	return c.socket.ReadOnReady(size, pool)
}

func (c *socketConn) Write(b []byte) (int, error) { return c.socket.Write(b) }
