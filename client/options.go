package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/headroom-rpc/headroom/internal/boottime"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// The transport. A static window switches off the estimator of the bandwidth-delay product, which would
// send a ping for every small message; half of the connection's is left for calls beside a stream.
const (
	streamWindow = 64 << 10
	connWindow   = 256 << 10

	// The server refuses pings more often than every 5 s; grpc-go sends them every 10 s at most.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
	connectTimeout   = 5 * time.Second
)

// Option changes how [Dial] connects. Of two that set the same thing the later one counts.
type Option func(*config)

// WithAddress names the server instead of searching for it: "unix:///path", "host:port", or
// "dns:///host:port" for a name that is resolved again whenever the connection is lost. Empty means to
// search.
func WithAddress(address string) Option { return func(c *config) { c.address = address } }

// WithTLS uses TLS on TCP; unix sockets stay plain. A client certificate in t makes it mutual. t must not
// be changed afterwards. The default is plaintext.
func WithTLS(t *tls.Config) Option { return func(c *config) { c.tls = t } }

// WithToken sends the bearer token with each call. Over plaintext it is refused, unless the address is a
// unix socket or loopback. The default sends none.
func WithToken(token string) Option {
	return func(c *config) { c.token, c.hasToken = bearer(token), true }
}

// WithLogger sends the client's log to l: lost and restored streams and version skew. The default discards
// it.
func WithLogger(l *slog.Logger) Option { return func(c *config) { c.log = l } }

// WithDialer opens connections by dial, for tests and for embedding; it gets the address as [WithAddress]
// names it. Without an address nothing is searched for and dial gets "127.0.0.1:7070".
func WithDialer(dial func(ctx context.Context, address string) (net.Conn, error)) Option {
	return func(c *config) { c.dial = dial }
}

// WithVersion names the client's own version, which is compared with the server's; see [Client.Skew]. The
// default is the version of this module that the program was built with.
func WithVersion(version string) Option { return func(c *config) { c.version = version } }

// WithName names this program to the server, for people: 1 to 64 letters, digits and any of ._:/-, beginning with
// a letter or a digit, such as "crawler-7". The default is the name of the executable and the pid.
func WithName(name string) Option { return func(c *config) { c.name = name } }

// WithLocal lets [OfflineLocal] judge the load of this machine: sources is called when it begins to. For example
//
//	client.WithLocal(func() snapshot.Sources { return host.NewSources(snapshot.ScopeHost) })
//
// with package snapshot/host, which the client does not link in by itself.
func WithLocal(sources func() snapshot.Sources) Option {
	return func(c *config) { c.local, c.hasLocal = sources, true }
}

type config struct {
	name      string
	local     func() snapshot.Sources
	hasLocal  bool
	address   string
	tls       *tls.Config
	token     bearer
	hasToken  bool
	log       *slog.Logger
	dial      func(context.Context, string) (net.Conn, error)
	version   string
	tcp       string               // where a server listens on TCP: defaultTCP but in tests
	jitter    float64              // share of each backoff that is random: 1 but in tests
	clock     func() time.Duration // boottime.Now but in tests
	endpoints []endpoint
}

func newConfig(opts []Option) (*config, error) {
	c := &config{
		name: programName(os.Args[0], os.Getpid()),
		log:  slog.New(slog.DiscardHandler), version: buildVersion(), tcp: defaultTCP, jitter: 1, clock: boottime.Now,
	}
	for _, o := range opts {
		o(c)
	}
	var errs []error
	if c.log == nil {
		errs = append(errs, errors.New("WithLogger: nil"))
	}
	if c.hasLocal && c.local == nil {
		errs = append(errs, errors.New("WithLocal: nil"))
	}
	if !clientName.MatchString(c.name) {
		errs = append(errs, fmt.Errorf("WithName: %q is not 1 to 64 letters, digits and ._:/-, beginning with a letter or a digit", c.name))
	}
	var err error
	if c.endpoints, err = c.findEndpoints(); err != nil {
		errs = append(errs, err)
	}
	if c.hasToken {
		errs = append(errs, c.token.validate())
		for _, e := range c.endpoints {
			if c.tls == nil && !e.local() {
				errs = append(errs, fmt.Errorf(
					"WithToken: the token would go in plaintext to %s, which is neither a unix socket nor loopback; add WithTLS", e))
			}
		}
	}
	return c, errors.Join(errs...)
}

var clientName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$`)

// programName names a process by its executable.
func programName(path string, pid int) string {
	end := "-" + strconv.Itoa(pid)
	name := strings.Map(func(r rune) rune {
		if clientName.MatchString("a" + string(r)) {
			return r
		}
		return '-'
	}, filepath.Base(path))
	if name = strings.TrimLeft(name, "._:/-"); name == "" {
		name = "program"
	}
	return name[:min(len(name), 64-len(end))] + end
}

func (c *config) findEndpoints() ([]endpoint, error) {
	switch env := os.Getenv("HEADROOM_ADDR"); {
	case c.address != "":
		return parseEndpoint("WithAddress", c.address)
	case c.dial != nil:
		return []endpoint{{address: c.tcp}}, nil
	case env != "":
		return parseEndpoint("HEADROOM_ADDR", env)
	default:
		return discover(os.Getenv, os.Geteuid(), c.tcp), nil
	}
}

// target returns what gRPC is to resolve for e. A dialer gets names unresolved.
func (c *config) target(e endpoint) string {
	if c.dial != nil && e.socket == "" {
		return "passthrough:///" + e.hostPort()
	}
	return e.target()
}

func (c *config) dialOptions(e endpoint) []grpc.DialOption {
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(c.credentials(e)),
		grpc.WithUserAgent("headroom-go/" + c.version),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: grpcbackoff.Config{
				BaseDelay: retryBase, Multiplier: retryGrowth, Jitter: c.jitter, MaxDelay: retryMax,
			},
			MinConnectTimeout: connectTimeout,
		}),
		// The client says itself what is retried, and when.
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
	}
	if c.hasToken {
		opts = append(opts, grpc.WithPerRPCCredentials(c.token))
	}
	if c.dial != nil {
		opts = append(opts, grpc.WithContextDialer(c.dial))
	}
	return opts
}

func (c *config) credentials(e endpoint) credentials.TransportCredentials {
	if c.tls == nil || e.socket != "" {
		return newPlaintext()
	}
	return credentials.NewTLS(c.tls)
}
