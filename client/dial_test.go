package client_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/loopback"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestDialWaitsForTheFirstValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{getStatus: func(context.Context) (*headroomv1.GetStatusResponse, error) {
			if time.Since(m.start) < time.Second {
				return nil, notReady(t, 300*time.Millisecond)
			}
			return &headroomv1.GetStatusResponse{InstanceId: "a", ServerVersion: "0.1.0"}, nil
		}})()
		c := m.client(t)
		if got, want := time.Since(m.start), 1200*time.Millisecond; got != want {
			t.Errorf("Dial took %v, want %v", got, want)
		}
		if got, want := c.Server(), (client.Server{Address: "127.0.0.1:7070", InstanceID: "a", Version: "0.1.0"}); got != want {
			t.Errorf("Server() = %+v, want %+v", got, want)
		}
	})
}

func TestDialIsNotHurried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		var calls atomic.Int64
		defer m.serve(&script{getStatus: func(context.Context) (*headroomv1.GetStatusResponse, error) {
			if calls.Add(1) <= 5 {
				return nil, notReady(t, 0)
			}
			return &headroomv1.GetStatusResponse{}, nil
		}})()
		m.client(t)
		if got, want := time.Since(m.start), 500*time.Millisecond; got != want {
			t.Errorf("Dial took %v for five retries that were asked for at once, want %v", got, want)
		}
	})
}

func TestDialGivesUp(t *testing.T) {
	hang := func(ctx context.Context) (*headroomv1.GetStatusResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, test := range []struct {
		name   string
		script *script // nil where nothing listens
		limit  time.Duration
		took   time.Duration
		is     error
		text   string
	}{
		{"nothing listens", nil, time.Hour, 0, nil, "127.0.0.1:7070: connection refused"},
		{"hung", &script{getStatus: hang}, time.Hour, 10 * time.Second, nil, "127.0.0.1:7070: no answer within 10s"},
		{"hung, context ends", &script{getStatus: hang}, time.Second, time.Second, context.DeadlineExceeded,
			"127.0.0.1:7070: context deadline exceeded"},
		{"refused", &script{getStatus: func(context.Context) (*headroomv1.GetStatusResponse, error) {
			return nil, status.Error(codes.PermissionDenied, "join the group headroom")
		}}, time.Hour, 0, nil, "127.0.0.1:7070: PermissionDenied: join the group headroom"},
		{"never ready, context ends", &script{getStatus: func(context.Context) (*headroomv1.GetStatusResponse, error) {
			return nil, notReady(t, time.Minute)
		}}, time.Second, time.Second, context.DeadlineExceeded,
			"127.0.0.1:7070: context deadline exceeded: no first snapshot yet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				if test.script != nil {
					defer m.serve(test.script)()
				}
				ctx, cancel := context.WithTimeout(t.Context(), test.limit)
				defer cancel()
				_, err := client.Dial(ctx, client.WithDialer(m.dial))
				if err == nil {
					t.Fatal("Dial succeeded")
				}
				if got, want := err.Error(), "client: no headroom server can be used:\n"+test.text; got != want {
					t.Errorf("error:\n\t%s\nwant:\n\t%s", got, want)
				}
				if !errors.Is(err, client.ErrNoServer) {
					t.Error("error is not ErrNoServer")
				}
				if test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("error is not %v", test.is)
				}
				if got := time.Since(m.start); got != test.took {
					t.Errorf("Dial took %v, want %v", got, test.took)
				}
			})
		})
	}
}

func TestDialRefusesOptions(t *testing.T) {
	const notAddress = " is not of the form unix:///path, host:port or dns:///host:port"
	for _, test := range []struct {
		name string
		opts []client.Option
		want []string
	}{
		{"no port", []client.Option{client.WithAddress("example.org")}, []string{`WithAddress: "example.org"` + notAddress}},
		{"path without scheme", []client.Option{client.WithAddress("/run/x.sock")}, []string{`WithAddress: "/run/x.sock"` + notAddress}},
		{"empty socket", []client.Option{client.WithAddress("unix://")}, []string{`WithAddress: "unix://"` + notAddress}},
		{"other scheme", []client.Option{client.WithAddress("http://a:1")}, []string{`WithAddress: "http://a:1"` + notAddress}},
		{"bad port", []client.Option{client.WithAddress("a:99999")}, []string{`WithAddress: port "99999" of "a:99999" is not a number from 1 to 65535`}},
		{"token in plaintext", []client.Option{client.WithAddress("10.0.0.1:7070"), client.WithToken("secret")},
			[]string{"WithToken: the token would go in plaintext to 10.0.0.1:7070, which is neither a unix socket nor loopback; add WithTLS"}},
		{"token to a name", []client.Option{client.WithAddress("dns:///a.example:7070"), client.WithToken("secret")},
			[]string{"WithToken: the token would go in plaintext to dns:///a.example:7070, which is neither a unix socket nor loopback; add WithTLS"}},
		{"all at once", []client.Option{client.WithAddress("x"), client.WithToken("new\nline"), client.WithLogger(nil)},
			[]string{"WithLogger: nil", `WithAddress: "x"` + notAddress, "WithToken: the token holds a space or a character that is not printable ASCII"}},
		{"empty token", []client.Option{client.WithAddress("127.0.0.1:1"), client.WithToken("")}, []string{"WithToken: the token is empty"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := client.Dial(t.Context(), test.opts...)
			if err == nil {
				t.Fatal("Dial succeeded")
			}
			if got, want := err.Error(), "client: "+strings.Join(test.want, "\n"); got != want {
				t.Errorf("error:\n\t%s\nwant:\n\t%s", got, want)
			}
			if errors.Is(err, client.ErrNoServer) {
				t.Error("error is ErrNoServer, but nobody was asked")
			}
			if strings.Contains(err.Error(), "secret") {
				t.Error("the error shows the token")
			}
		})
	}
}

// authorization answers GetStatus and says what came with it.
func authorization(got chan<- string) *script {
	return &script{getStatus: func(ctx context.Context) (*headroomv1.GetStatusResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		got <- strings.Join(md.Get("authorization"), ",") + " " + strings.Join(md.Get("user-agent"), ",")
		return &headroomv1.GetStatusResponse{}, nil
	}}
}

func TestDialSendsTheToken(t *testing.T) {
	for _, address := range []string{"127.0.0.1:7070", "[::1]:7070", "localhost:7070"} {
		t.Run(address, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, got := newMachine(), make(chan string, 1)
				defer m.serve(authorization(got))()
				m.client(t, client.WithAddress(address), client.WithToken("t0ken"), client.WithVersion("0.1.0"))
				if got := <-got; !strings.HasPrefix(got, "Bearer t0ken headroom-go/0.1.0 ") {
					t.Errorf("got %q, want Bearer t0ken headroom-go/0.1.0", got)
				}
			})
		})
	}
}

func TestDialByTLS(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	roots := x509.NewCertPool()
	roots.AddCert(cert.Certificate())

	m, got := newMachine(), make(chan string, 1)
	defer m.serve(authorization(got), grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: cert.TLS.Certificates})))()
	m.client(t, client.WithAddress("example.com:443"), client.WithTLS(&tls.Config{RootCAs: roots}), client.WithToken("t0ken"))
	if got := <-got; !strings.HasPrefix(got, "Bearer t0ken ") {
		t.Errorf("got %q, want Bearer t0ken", got)
	}

	_, err := client.Dial(t.Context(), client.WithDialer(m.dial), client.WithAddress("other.example:443"),
		client.WithTLS(&tls.Config{RootCAs: roots}))
	if err == nil || !strings.Contains(err.Error(), "other.example") {
		t.Errorf("Dial of a name that the certificate lacks: %v, want an error that names it", err)
	}
}

func TestSkewIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		version := "0.3.0"
		defer m.serve(&script{getStatus: func(context.Context) (*headroomv1.GetStatusResponse, error) {
			return &headroomv1.GetStatusResponse{ServerVersion: version}, nil
		}})()
		var log bytes.Buffer
		c := m.client(t, client.WithVersion("0.1.2"), client.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		for range 3 {
			if _, err := c.Status(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		const want = "the server is version 0.3.0, the client 0.1.2"
		if got := c.Skew(); got != want {
			t.Errorf("Skew() = %q, want %q", got, want)
		}
		if got := strings.Count(log.String(), want); got != 1 {
			t.Errorf("log holds it %d times, want once:\n%s", got, log.String())
		}
		version = "0.1.9"
		if _, err := c.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := c.Skew(); got != "" {
			t.Errorf("Skew() after the server's upgrade = %q, want none", got)
		}
	})
}

// listen serves on a real listener.
func listen(t *testing.T, network, address, instance string) net.Addr {
	t.Helper()
	if network == "tcp" {
		loopback.Need(t)
	}
	lis, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	headroomv1.RegisterStatusServiceServer(srv, &script{getStatus: func(context.Context) (*headroomv1.GetStatusResponse, error) {
		return &headroomv1.GetStatusResponse{InstanceId: instance}, nil
	}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(lis)
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return lis.Addr()
}

func TestDialFindsTheServer(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "100%41 s?.sock") // every character that a URL would read otherwise
	listen(t, "unix", socket, "socket")
	tcp := listen(t, "tcp", "127.0.0.1:0", "tcp").String()
	gone := filepath.Join(dir, "gone.sock")

	for _, test := range []struct {
		name, env, socket, address string
		want                       client.Server
	}{
		{"socket of the environment", "", socket, "", client.Server{Address: "unix://" + socket, InstanceID: "socket"}},
		{"no such socket", "", gone, "", client.Server{Address: tcp, InstanceID: "tcp"}},
		{"address of the environment", "unix:" + socket, gone, "", client.Server{Address: "unix://" + socket, InstanceID: "socket"}},
		{"address", "unix:" + gone, gone, "dns:///" + tcp, client.Server{Address: "dns:///" + tcp, InstanceID: "tcp"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("HEADROOM_ADDR", test.env)
			t.Setenv("HEADROOM_SOCKET", test.socket)
			c, err := client.Dial(t.Context(), client.WithAddress(test.address), client.WithTCP(tcp))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := c.Server(); got != test.want {
				t.Errorf("Server() = %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestDialNamesEveryAddress(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp := lis.Addr().String()
	lis.Close()
	gone := filepath.Join(t.TempDir(), "gone.sock")
	t.Setenv("HEADROOM_ADDR", "")
	t.Setenv("HEADROOM_SOCKET", gone)
	_, err = client.Dial(t.Context(), client.WithTCP(tcp))
	if err == nil {
		t.Fatal("Dial succeeded")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[1], "unix://"+gone+": ") || !strings.HasPrefix(lines[2], tcp+": dial tcp "+tcp+": ") {
		t.Errorf("error:\n%v", err)
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Error("the error is not os.ErrNotExist, which the socket's is")
	}
}

func notReady(t *testing.T, delay time.Duration) error {
	s, err := status.New(codes.Unavailable, "no first snapshot yet").WithDetails(
		&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
	if err != nil {
		t.Error(err)
	}
	return s.Err()
}
