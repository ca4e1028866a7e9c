package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/headroom-rpc/headroom/limit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
)

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func withLog(b *logBuffer, level slog.Level) func(*server.Config) {
	return func(c *server.Config) {
		c.Log = slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: level}))
	}
}

// A handler that panics costs its caller one INTERNAL; the cause is in the log under the id that the caller
// was told, and the server goes on.
func TestPanicInAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		var armed atomic.Bool
		f := serving(t, settings{server: withLog(&log, slog.LevelInfo), sampling: func(c *snapshot.Config) {
			clock := c.Clock
			c.Clock = func() time.Duration {
				if armed.Load() {
					panic("the clock fell off the wall")
				}
				return clock()
			}
		}})
		synctest.Wait() // only the handler looks at the clock before time goes on
		armed.Store(true)
		_, err := f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{})
		armed.Store(false)
		checkError(t, err, codes.Internal, "INTERNAL")
		var id string
		for _, detail := range status.Convert(err).Details() {
			if info, ok := detail.(*errdetails.RequestInfo); ok {
				id = info.GetRequestId()
			}
		}
		if strings.Contains(err.Error(), "clock") || id == "" {
			t.Errorf("the caller is told %q with request id %q, want a fixed text and an id", err, id)
		}
		for _, want := range []string{id, "the clock fell off the wall", "status_service.go"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %q:\n%s", want, log.String())
			}
		}
		if _, err := f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{}); err != nil {
			t.Errorf("the next call = %v", err)
		}
	})
}

// A source that panics is an unknown reading with a reason; the server goes on.
func TestPanicInASource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		f.machine.mu.Lock()
		f.machine.panicked = true
		f.machine.mu.Unlock()
		time.Sleep(2 * time.Second)
		resp, err := f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: cpu})
		if err != nil {
			t.Fatal(err)
		}
		last := resp.GetSnapshots()[len(resp.GetSnapshots())-1]
		if last.GetUnknown().GetReason() == "" || last.Value != nil {
			t.Errorf("the snapshot of a panic is %v, want it unknown with a reason and without value", last)
		}
	})
}

func TestLogOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		f := serving(t, settings{server: withLog(&log, slog.LevelDebug)})
		f.client.GetStatus(t.Context(), &headroomv1.GetStatusRequest{})
		hostile := "\x1b]0;title\x07\n\u202etxt"
		f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: custom, Signal: hostile})
		time.Sleep(time.Second) // lines of one caller's failures are spaced out
		f.conn.Invoke(t.Context(), "/"+strings.Repeat("a", 1000)+"/x", &headroomv1.GetStatusRequest{}, &headroomv1.GetStatusResponse{})
		f.shutdown()
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		var calls int
		for _, line := range lines {
			if strings.Contains(line, "finished call") {
				calls++
			}
			if strings.Contains(line, strings.Repeat("a", 257)) {
				t.Errorf("a line of %d bytes holds more than 256 bytes of a caller's text", len(line))
			}
			for _, bad := range []string{"\x1b", "\x07", "\u202e"} {
				if strings.Contains(line, bad) {
					t.Errorf("the line %q holds %q", line, bad)
				}
			}
		}
		if calls != 3 {
			t.Errorf("%d lines of finished calls, want 3:\n%s", calls, log.String())
		}
		if want := "level=DEBUG msg=\"finished call\" identity=tester"; !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, log.String())
		}
	})
}

// A client that ends its stream has done nothing that an operator need know of.
func TestLogOfStreamsThatTheirClientEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		f := serving(t, settings{server: withLog(&log, slog.LevelInfo)})
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := f.client.WatchSnapshots(ctx, &headroomv1.WatchSnapshotsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		if strings.Contains(log.String(), "finished call") {
			t.Errorf("at level info the log holds the end of a stream that its client cancelled:\n%s", log.String())
		}
	})
}

// A caller whose calls all fail fills no disk.
func TestLogOfFailuresIsSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		f := serving(t, settings{server: withLog(&log, slog.LevelInfo)})
		for range 1000 {
			f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: 77})
		}
		time.Sleep(2 * time.Second)
		f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: 77})
		f.shutdown()
		if got := strings.Count(log.String(), "finished call"); got != 2 {
			t.Errorf("%d lines for 1001 failed calls in two seconds, want 2", got)
		}
		if !strings.Contains(log.String(), "unlogged=999") {
			t.Errorf("the log does not count what it leaves out:\n%s", log.String())
		}
	})
}

// page fetches a path over HTTP with the Host header.
func page(t *testing.T, dial func(context.Context) (net.Conn, error), method, path, host string, header ...string) (int, string) {
	t.Helper()
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lis := bufconn.Listen(1 << 20)
		f := start(t, settings{
			server: func(c *server.Config) { c.HTTP = lis },
			sampling: func(c *snapshot.Config) {
				read := c.Sources.CPU
				c.Sources.CPU = func(ctx context.Context) (snapshot.CPUReading, error) {
					time.Sleep(time.Second)
					return read(ctx)
				}
			},
		})
		get := func(method, path, host string, header ...string) int {
			code, _ := page(t, lis.DialContext, method, path, host, header...)
			return code
		}
		time.Sleep(500 * time.Millisecond)
		for _, tt := range []struct {
			path string
			want int
		}{{"/healthz", 200}, {"/readyz", 503}, {"/metrics", 200}, {"/", 404}, {"/debug/pprof/", 404}} {
			if got := get("GET", tt.path, "localhost"); got != tt.want {
				t.Errorf("GET %s before the first sample = %d, want %d", tt.path, got, tt.want)
			}
		}
		time.Sleep(time.Second)
		for _, tt := range []struct {
			method, path, host string
			header             []string
			want               int
		}{
			{"GET", "/readyz", "localhost", nil, 200},
			{"HEAD", "/healthz", "127.0.0.1:9090", nil, 200},
			{"GET", "/healthz", "[::1]:9090", nil, 200},
			{"GET", "/healthz", "127.8.8.8", nil, 200},
			{"GET", "/healthz", "localhost.attacker.example", nil, 403},
			{"GET", "/metrics", "attacker.example:9090", nil, 403},
			{"GET", "/metrics", "10.0.0.1", nil, 403},
			{"GET", "/metrics", "localhost", []string{"Origin", "http://attacker.example", "Sec-Fetch-Site", "cross-site"}, 403},
			{"POST", "/metrics", "localhost", nil, 405},
			{"DELETE", "/healthz", "localhost", nil, 405},
			{"OPTIONS", "/readyz", "localhost", nil, 405},
		} {
			if got := get(tt.method, tt.path, tt.host, tt.header...); got != tt.want {
				t.Errorf("%s %s of %s %v = %d, want %d", tt.method, tt.path, tt.host, tt.header, got, tt.want)
			}
		}
		done := make(chan error, 1)
		go func() { done <- f.shutdown() }()
		time.Sleep(50 * time.Millisecond)
		if got := get("GET", "/readyz", "localhost"); got != 503 {
			t.Errorf("GET /readyz while draining = %d, want 503", got)
		}
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// Metrics have their documented names, and no string of a caller is a label.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lis := bufconn.Listen(1 << 20)
		law, err := limit.NewFixed(3)
		if err != nil {
			t.Fatal(err)
		}
		shadow, err := limit.NewFixed(7)
		if err != nil {
			t.Fatal(err)
		}
		f := serving(t, settings{server: func(c *server.Config) {
			c.HTTP, c.Permits.Host = lis, server.HostPermits{Law: law, Shadows: []limit.Law{shadow}}
		}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := f.client.WatchSnapshots(ctx, &headroomv1.WatchSnapshotsRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			f.client.ReportLoad(t.Context(), &headroomv1.ReportLoadRequest{
				Reporter: fmt.Sprintf("evil-reporter-%d", i),
				Signals:  []*headroomv1.CustomSignal{{Name: fmt.Sprintf("evil_signal_%d", i%16), Value: 3, Limit: 2}},
			})
			f.conn.Invoke(t.Context(), fmt.Sprintf("/evil.Service/evil_method_%d", i), &headroomv1.GetStatusRequest{}, &headroomv1.GetStatusResponse{})
		}
		f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: 77})
		f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{})
		f.machine.mu.Lock()
		f.machine.broken = fmt.Errorf("no reading")
		f.machine.mu.Unlock()
		time.Sleep(2500 * time.Millisecond)
		_, body := page(t, lis.DialContext, "GET", "/metrics", "localhost")
		for _, want := range []string{
			`headroom_resource_used_ratio{resource="cpu"} 0.25`,
			`headroom_resource_used_ratio{resource="memory"} 0.25`,
			`headroom_resource_limit{resource="cpu",unit="ratio"} 0.95`,
			`headroom_resource_limit{resource="event_loop",unit="seconds"} 0.05`,
			`headroom_event_loop_delay_seconds 0`,
			`headroom_resource_overloaded{resource="memory",window="current"} 0`,
			`headroom_resource_overloaded{resource="custom",window="current"} 1`,
			`headroom_resource_overloaded{resource="memory",window="historical"} 0`,
			`headroom_sample_age_seconds{signal="memory"} 0.5`,
			`headroom_sample_age_seconds{signal="custom"}`,
			`headroom_sample_errors_total{signal="cpu"} 2`,
			`headroom_severity_level 1`,
			`headroom_severity_transitions_total{from="0",to="1"} 1`,
			`headroom_permit_limit{resource="host"} 3`,
			`headroom_permit_shadow_limit{law="fixed"} 7`,
			`headroom_permit_charge{resource="host"} 0`,
			`headroom_permit_unknown{resource="host"} 3`,
			`headroom_permit_held{resource="host"} 0`,
			`headroom_permit_want{resource="host"} 0`,
			`headroom_permit_mismatches_total{resource="host"} 0`,
			`headroom_permit_sessions 0`,
			`headroom_permit_leases 0`,
			`headroom_permit_waiters 0`,
			`headroom_permit_targets_sent_total 0`,
			`headroom_permit_grants_total 0`,
			`headroom_permit_expiries_total 0`,
			`headroom_permit_journal_faults_total 0`,
			`headroom_tasks 0`,
			`headroom_task_passes_total 0`,
			`headroom_task_interval_seconds 5`,
			`headroom_task_samples_missed_total 0`,
			`headroom_task_mounts_hung 0`,
			`headroom_stream_subscribers 1`,
			`headroom_stream_states_sent_total`,
			`headroom_stream_skipped_states_total 0`,
			`headroom_stream_slow_readers_total 0`,
			`headroom_connections 1`,
			`headroom_connections_closed_total{reason="limit"} 0`,
			`headroom_build_info{go_version="go`,
			`version="1.2.3"} 1`,
			`grpc_server_handled_total{grpc_code="OK",grpc_method="ReportLoad"`,
			`grpc_server_started_total{grpc_method="GetSample",grpc_service="headroom.v1.StatusService",grpc_type="unary"} 2`,
			`grpc_server_msg_received_total{grpc_method="GetSample",grpc_service="headroom.v1.StatusService",grpc_type="unary"} 2`,
			`grpc_server_msg_sent_total{grpc_method="GetSample",grpc_service="headroom.v1.StatusService",grpc_type="unary"} 1`,
			`grpc_server_handled_total{grpc_code="InvalidArgument",grpc_method="GetSample",grpc_service="headroom.v1.StatusService",grpc_type="unary"} 1`,
			`grpc_server_handled_total{grpc_code="OK",grpc_method="GetSample",grpc_service="headroom.v1.StatusService",grpc_type="unary"} 1`,
			`grpc_server_msg_received_total{grpc_method="WatchSnapshots",grpc_service="headroom.v1.StatusService",grpc_type="server_stream"} 1`,
			`grpc_server_started_total{grpc_method="WatchSnapshots",grpc_service="headroom.v1.StatusService",grpc_type="server_stream"} 1`,
			`go_goroutines`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("the metrics have no %s", want)
			}
		}
		if strings.Contains(body, "evil") {
			t.Error("a string of a caller is a label")
		}
		if t.Failed() {
			t.Log(body)
		}
	})
}
