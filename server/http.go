package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// The bounds of the HTTP listener. They are its own, so that metrics stay readable while the gRPC listeners
// are full.
const (
	maxHTTPConnections = 64
	maxHTTPHeaderBytes = 8 << 10
	maxScrapes         = 4
)

func (s *Server) newHTTPServer(l net.Listener, access *accessTable) *http.Server {
	mux := http.NewServeMux()
	s.diagnostics.handleArtifacts(mux, access)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes,
		Timeout:             5 * time.Second,
		ErrorLog:            slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case s.draining.Load():
			answer(w, http.StatusServiceUnavailable, "draining")
		case !s.service.ready():
			answer(w, http.StatusServiceUnavailable, "no sample was taken yet")
		default:
			answer(w, http.StatusOK, "ok")
		}
	})
	return &http.Server{
		Handler:           secured(mux, isLoopback(l.Addr())),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    maxHTTPHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// secured refuses what a browser could be made to send. On loopback the Host header must name loopback: a
// page whose name was rebound to 127.0.0.1 sends its own name.
func secured(next http.Handler, loopback bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			answer(w, http.StatusMethodNotAllowed, "only GET and HEAD")
		case loopback && !namesLoopback(r.Host):
			answer(w, http.StatusForbidden, "the Host header must be localhost or a loopback address")
		case r.Header.Get("Origin") != "" && r.Header.Get("Sec-Fetch-Site") != "same-origin":
			answer(w, http.StatusForbidden, "not for pages of other sites")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// namesLoopback reports whether a Host header is localhost or a loopback address, with or without a port.
func namesLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// isLoopback reports whether only programs on this host reach the address.
func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text) // the reader may be gone
}

// serveHTTP serves until the server is shut down.
func serveHTTP(srv *http.Server, l net.Listener) error {
	err := srv.Serve(netutil.LimitListener(l, maxHTTPConnections))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve http on %v: %w", l.Addr(), err)
}

// stopHTTP lets requests finish for a second.
func stopHTTP(srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		_ = srv.Close() // nothing is left to do about it
	}
}
