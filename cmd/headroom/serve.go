package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/internal/boottime"
	"github.com/headroom-rpc/headroom/internal/garbage"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the load of this machine over gRPC",
		Long: `Serve the load of this machine over gRPC, on a unix socket and on TCP
127.0.0.1:7070. It needs no configuration.

The first SIGTERM or SIGINT drains: calls have --drain-timeout to end. A second
one ends the program at once.`,
		Example: examples(
			"headroom serve",
			"headroom serve --config headroom.yaml --http 127.0.0.1:9090",
		),
		Args: takes(cobra.NoArgs),
	}
	l := newLoader(cmd)
	cmd.SetUsageFunc(serveUsage(l.table))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, err := l.load()
		if err != nil {
			return err
		}
		return serve(cmd.Context(), e, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// serve runs the server until ctx is done or the first signal, and until calls in flight have ended.
func serve(ctx context.Context, e *effective, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	garbage.Pace()
	c := e.settings
	log := newLogger(stderr, c)
	for _, w := range e.warnings {
		log.Warn(w)
	}
	h, err := c.host.open()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	defer h.Close() // it never fails
	config, tlsConf, err := c.serverConfig(log, h)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if config.Listeners, config.HTTP, err = c.open(tlsConf); err != nil {
		return err
	}
	s, err := server.New(config)
	if err != nil {
		closeAll(config.Listeners, config.HTTP)
		return &exitError{exitUsage, err}
	}
	starting := []any{"version", version, "go", runtime.Version(), "pid", os.Getpid()}
	if revision := sourceRevision(); revision != "" {
		starting = append(starting, "revision", revision)
	}
	if e.file != "" {
		starting = append(starting, "config", e.file)
	}
	log.Info("starting", starting...)
	if onTerminal(stdout) {
		fmt.Fprintln(stdout, "See this machine's load in another terminal with: headroom watch")
	}
	context.AfterFunc(ctx, func() {
		stop() // before the hint is out: from here the second signal has its default effect
		log.Info("stopping", "drain_timeout", c.drainTimeout, "hint", "a second signal ends at once")
		notify(log, daemon.SdNotifyStopping)
	})
	sampled := config.Snapshotter.Ready() // in the run that begins now
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-sampled:
			notify(log, daemon.SdNotifyReady)
		case <-running.Done():
		}
	}()
	if err := s.Run(ctx); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// serverConfig returns the configuration of a server of h but for its listeners, and their TLS configuration,
// nil for none. It reports every fault of the files that the settings name.
func (c *serveSettings) serverConfig(log *slog.Logger, h *host.Host) (server.Config, *tls.Config, error) {
	reports, err := snapshot.NewReports(c.maxReporters, c.maxSignals)
	if err != nil {
		return server.Config{}, nil, err
	}
	conf := c.sampling(h)
	conf.Reports = reports
	conf.Clock = boottime.Now
	conf.Ticks = host.NewTicks
	conf.Log = log
	snapshotter, err := snapshot.New(conf)
	if err != nil {
		return server.Config{}, nil, err
	}
	var wrong []error
	access := server.Access{LoopbackRole: c.loopbackRole, CertRoles: map[string]server.Role{}}
	for _, entry := range c.certRoles {
		name, role, err := splitCertRole(entry)
		wrong = append(wrong, err)
		access.CertRoles[name] = role
	}
	if c.tokenFile != "" {
		access.Tokens, err = server.LoadTokens(c.tokenFile)
		wrong = append(wrong, err)
	}
	var tlsConf *tls.Config
	if c.tlsCert != "" {
		tlsConf, err = server.LoadTLS(c.tlsCert, c.tlsKey, c.tlsClient, log)
		wrong = append(wrong, err)
	}
	permits, err := c.permits.server()
	wrong = append(wrong, err)
	return server.Config{
		Permits:       permits,
		Tasks:         c.tasks,
		Diagnostics:   c.diagnostics.server(c.permits.config.StateDir),
		Snapshotter:   snapshotter,
		Levels:        conditions(c.severity.levels),
		ProcessLevels: conditions(c.severity.processLevels),
		Access:        access,
		Limits:        c.limits,
		DrainTimeout:  c.drainTimeout,
		Collectors:    []prometheus.Collector{hostCollector{h}},
		Version:       version,
		Log:           log,
	}, tlsConf, errors.Join(wrong...)
}

// open opens every listener, or none and returns every fault.
func (c *serveSettings) open(tlsConf *tls.Config) (all []*server.Listener, http net.Listener, err error) {
	var wrong []error
	add := func(l *server.Listener, err error) {
		if err != nil {
			wrong = append(wrong, err)
			return
		}
		all = append(all, l)
	}
	if c.socket != off {
		add(server.ListenUnix(c.socket))
	}
	if c.listen != off {
		add(server.ListenTCP(c.listen, tlsConf, c.insecure))
	}
	if c.http != off {
		if http, err = net.Listen("tcp", c.http); err != nil {
			wrong = append(wrong, fmt.Errorf("http: %w", named(c.http, err)))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		closeAll(all, http)
		return nil, nil, err
	}
	return all, http, nil
}

// named returns why nothing can listen on the address, where it can with the name of who holds it.
func named(address string, err error) error {
	l, again := server.ListenTCP(address, nil, true)
	if again != nil {
		return again
	}
	_ = l.Close() // it was free a moment later; the first answer stands
	return err
}

func closeAll(listeners []*server.Listener, http net.Listener) {
	for _, l := range listeners {
		_ = l.Close() // nothing was served on it
	}
	if http != nil {
		_ = http.Close()
	}
}

func newLogger(w io.Writer, c *serveSettings) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.logLevel}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// notify tells systemd, where it started the program, in what state it is.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot notify systemd", "err", err)
	}
}
