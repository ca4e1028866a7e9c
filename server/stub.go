package server

import (
	"crypto/tls"
	"log/slog"
	"net"

	"google.golang.org/grpc"
)

type guard struct{}

func newGuard(limits Limits, log *slog.Logger) *guard { return nil }
func (g *guard) wrap(l *Listener) net.Listener        { return nil }
func grpcOptions(l *Listener, limits Limits, access *accessTable, g *guard) []grpc.ServerOption {
	return nil
}
func ListenUnix(path string) (*Listener, error)                                    { return nil, nil }
func ListenTCP(addr string, tlsConf *tls.Config, insecure bool) (*Listener, error) { return nil, nil }
func LoadTLS(certFile, keyFile, clientCAFile string) (*tls.Config, error)          { return nil, nil }
func LoadTokens(path string) ([]Token, error)                                      { return nil, nil }
