package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	channelzservice "google.golang.org/grpc/channelz/service"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/headroom-rpc/headroom/internal/loopback"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// callTimeout bounds a call of a test that is expected to be answered at once.
const callTimeout = 2 * time.Minute

// probeServer is a small gRPC server behind the transport under test. GetStatus answers with the caller's
// identity, ReportLoad is for workers, and channelz for operators.
type probeServer struct {
	headroomv1.UnimplementedStatusServiceServer

	listener *Listener
	guard    *guard
	grpc     *grpc.Server
	ended    chan struct{} // closed once it no longer serves
	watch    func(grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]) error
}

func (p *probeServer) GetStatus(ctx context.Context, _ *headroomv1.GetStatusRequest) (*headroomv1.GetStatusResponse, error) {
	id, _ := IdentityFrom(ctx)
	headers, _ := metadata.FromIncomingContext(ctx)
	if len(headers[authorization]) > 0 {
		id.Name += " with its token"
	}
	return &headroomv1.GetStatusResponse{ServerVersion: id.String()}, nil
}

func (p *probeServer) ReportLoad(context.Context, *headroomv1.ReportLoadRequest) (*headroomv1.ReportLoadResponse, error) {
	return &headroomv1.ReportLoadResponse{}, nil
}

func (p *probeServer) WatchSnapshots(_ *headroomv1.WatchSnapshotsRequest, ss grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]) error {
	return p.watch(ss)
}

type probeConfig struct {
	access  Access
	limits  Limits
	log     *slog.Logger
	watch   func(grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]) error
	options []grpc.ServerOption
}

// startProbe serves l until the test ends.
func startProbe(t *testing.T, l *Listener, c probeConfig) *probeServer {
	t.Helper()
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	limits := c.limits.WithDefaults()
	p := &probeServer{listener: l, guard: newGuard(limits, c.log), ended: make(chan struct{}), watch: c.watch}
	access := newAccessTable(c.access, c.log)
	options := append(grpcOptions(l, limits, access, p.guard),
		grpc.ChainUnaryInterceptor(
			func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
				resp, err := handler(ctx, req)
				return resp, toStatus(ctx, err)
			}, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
				if err := access.admit(ctx, info.FullMethod); err != nil {
					return nil, err
				}
				return handler(ctx, req)
			}),
		grpc.StreamInterceptor(
			func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
				err := access.admit(ss.Context(), info.FullMethod)
				if err == nil {
					err = handler(srv, ss)
				}
				return toStatus(ss.Context(), err)
			}))
	p.grpc = grpc.NewServer(append(options, c.options...)...)
	services := observed{p.grpc}
	headroomv1.RegisterStatusServiceServer(services, p)
	healthpb.RegisterHealthServer(services, health.NewServer())
	channelzservice.RegisterChannelzServiceToServer(services)
	go func() {
		defer close(p.ended)
		if err := p.grpc.Serve(p.guard.wrap(l)); err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
	}()
	t.Cleanup(func() {
		p.grpc.Stop()
		<-p.ended
		if got := p.guard.counts().open; got != 0 {
			t.Errorf("connections counted after Stop = %d, want 0", got)
		}
	})
	return p
}

// dial returns a client of the server.
func (p *probeServer) dial(t *testing.T, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	addr := p.listener.Addr()
	target := "passthrough:///" + addr.String()
	if addr.Network() == "unix" {
		target = "unix:" + addr.String()
	}
	return dialTarget(t, target, opts...)
}

func dialTarget(t *testing.T, target string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, opts...)
	cc, err := grpc.NewClient(target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// whoami returns who the server takes the client for.
func whoami(t *testing.T, cc *grpc.ClientConn, headers ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, headers...)
	resp, err := headroomv1.NewStatusServiceClient(cc).GetStatus(ctx, &headroomv1.GetStatusRequest{})
	return resp.GetServerVersion(), err
}

func report(t *testing.T, cc *grpc.ClientConn, headers ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, headers...)
	_, err := headroomv1.NewStatusServiceClient(cc).ReportLoad(ctx, &headroomv1.ReportLoadRequest{})
	return err
}

func checkHealth(t *testing.T, cc *grpc.ClientConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

// reasonOf returns the code of err and the reason in its details.
func reasonOf(err error) string {
	st := status.Convert(err)
	for _, d := range st.Details() {
		if info, ok := d.(interface{ GetReason() string }); ok {
			return st.Code().String() + " " + info.GetReason()
		}
	}
	return st.Code().String()
}

func listenLoopback(t *testing.T) *Listener {
	t.Helper()
	loopback.Need(t)
	l, err := ListenTCP("127.0.0.1:0", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// listenFrom returns a loopback Listener whose connections seem to come from the given address.
func listenFrom(t *testing.T, from string, config *tls.Config) *Listener {
	t.Helper()
	l := listenLoopback(t)
	l.listener, l.tls = &farListener{l.listener, &net.TCPAddr{IP: net.ParseIP(from), Port: 4242}}, config
	return l
}

type farListener struct {
	net.Listener
	from *net.TCPAddr
}

func (l *farListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &farConn{conn, l.from}, nil
}

type farConn struct {
	net.Conn
	from *net.TCPAddr
}

func (c *farConn) RemoteAddr() net.Addr { return c.from }

// eventually waits for the condition. It fails the test only when nothing else can be expected to change.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(callTimeout); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}

// lines is a slog output to be searched.
type lines struct {
	mu   sync.Mutex
	text []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, last: 1}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue returns a certificate and its key in PEM form.
func (a *authority) issue(template x509.Certificate) (certPEM, keyPEM []byte) {
	a.t.Helper()
	a.last++
	template.SerialNumber = big.NewInt(a.last)
	template.NotBefore = time.Now().Add(-2 * time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func (a *authority) serverCert() (certPEM, keyPEM []byte) {
	return a.issue(x509.Certificate{Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"localhost"}})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// client returns the credentials of a client that trusts a and has the given certificate of a, if any.
func (a *authority) client(cert *x509.Certificate) grpc.DialOption { return a.clientOf(a, cert) }

// clientOf is client with a certificate of another authority.
func (a *authority) clientOf(issuer *authority, cert *x509.Certificate) grpc.DialOption {
	a.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	config := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if cert != nil {
		certPEM, keyPEM := issuer.issue(*cert)
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			a.t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return grpc.WithTransportCredentials(credentials.NewTLS(config))
}

func writeFile(t *testing.T, dir, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func testToken(name string, role Role, text string) Token {
	return Token{Name: name, Role: role, SHA256: sha256.Sum256([]byte(text))}
}

// dialBuf connects a client through conns.
func dialBuf(conns *bufconn.Listener) grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return conns.DialContext(ctx) })
}
