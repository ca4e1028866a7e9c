package server_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// recorded is a running server with diagnostics, and the directory of its artifacts.
type recorded struct {
	*fixture
	dir    string
	client headroomv1.DiagnosticsServiceClient // of an operator
	others map[string]*bufconn.Listener        // of further identities
	log    *logBuffer                          // all of it
	pages  *bufconn.Listener                   // of /metrics
}

var all = []string{"memory", "cpu_profile", "allocation_profile", "trace", "goroutines", "logs", "file"}

func diagnosed(t testing.TB, change func(*server.DiagnosticsConfig), identities ...server.Identity) *recorded {
	t.Helper()
	r := &recorded{dir: filepath.Join(t.TempDir(), "artifacts"), others: make(map[string]*bufconn.Listener), log: &logBuffer{}, pages: bufconn.Listen(1 << 20)}
	r.fixture = start(t, settings{server: func(c *server.Config) {
		withLog(r.log, slog.LevelDebug)(c)
		c.HTTP, c.Diagnostics = r.pages, server.DiagnosticsConfig{Allow: all, Dir: r.dir}
		if change != nil {
			change(&c.Diagnostics)
		}
		for _, id := range identities {
			r.others[id.Name] = bufconn.Listen(1 << 20)
			c.Listeners = append(c.Listeners, server.NewListener(r.others[id.Name], id))
		}
	}})
	r.client = headroomv1.NewDiagnosticsServiceClient(r.conn)
	for {
		_, err := r.client.ListArtifacts(t.Context(), &headroomv1.ListArtifactsRequest{})
		if reason(err) != "STARTING" {
			return r
		}
		runtime.Gosched()
	}
}

// as returns a client of another identity.
func (r *recorded) as(t testing.TB, name string) headroomv1.DiagnosticsServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.others[name].DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return headroomv1.NewDiagnosticsServiceClient(conn)
}

func aWorker(name string) server.Identity {
	return server.Identity{Name: name, Role: server.RoleWorker, UID: -1, PID: -1, Local: true}
}

// record begins a recording and returns it with what the server says of it.
func record(
	ctx context.Context, client headroomv1.DiagnosticsServiceClient, start *headroomv1.DiagnosticsStart,
) (headroomv1.DiagnosticsService_StartDiagnosticsClient, *headroomv1.DiagnosticsStarted, error) {
	stream, err := client.StartDiagnostics(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := stream.Send(&headroomv1.StartDiagnosticsRequest{Start: start}); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	resp, err := stream.Recv()
	return stream, resp.GetStarted(), err
}

func finish(t *testing.T, stream headroomv1.DiagnosticsService_StartDiagnosticsClient, failed bool) []*headroomv1.Artifact {
	t.Helper()
	if err := stream.Send(&headroomv1.StartDiagnosticsRequest{Finish: &headroomv1.DiagnosticsFinish{Failed: failed}}); err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetFinished().GetArtifacts()
}

func upload(
	ctx context.Context, client headroomv1.DiagnosticsServiceClient, start *headroomv1.UploadStart, parts ...string,
) (*headroomv1.Artifact, error) {
	stream, err := client.UploadArtifact(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&headroomv1.UploadArtifactRequest{Start: start}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, part := range parts {
		if err := stream.Send(&headroomv1.UploadArtifactRequest{Data: []byte(part)}); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	resp, err := stream.CloseAndRecv()
	return resp.GetArtifact(), err
}

func mustUpload(t *testing.T, client headroomv1.DiagnosticsServiceClient, task, name string, parts ...string) *headroomv1.Artifact {
	t.Helper()
	a, err := upload(t.Context(), client, &headroomv1.UploadStart{TaskId: task, Recorder: "file", Name: name}, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func download(
	ctx context.Context, client headroomv1.DiagnosticsServiceClient, req *headroomv1.DownloadArtifactRequest,
) (string, *headroomv1.Artifact, error) {
	stream, err := client.DownloadArtifact(ctx, req)
	if err != nil {
		return "", nil, err
	}
	var text strings.Builder
	var a *headroomv1.Artifact
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return text.String(), a, nil
		}
		if err != nil {
			return "", nil, err
		}
		if a == nil {
			a = resp.GetArtifact()
		}
		text.Write(resp.GetData())
	}
}

func list(t *testing.T, client headroomv1.DiagnosticsServiceClient, req *headroomv1.ListArtifactsRequest) []*headroomv1.Artifact {
	t.Helper()
	resp, err := client.ListArtifacts(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetArtifacts()
}

func ids(all []*headroomv1.Artifact) []string {
	var list []string
	for _, a := range all {
		list = append(list, a.GetArtifactId())
	}
	return list
}

// await waits until the condition holds.
func await(t *testing.T, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatal("what was waited for does not happen")
		}
		runtime.Gosched()
	}
}
