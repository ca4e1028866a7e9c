package diagnose_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/diagnostics"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// fake is a server that takes all that is uploaded.
type fake struct {
	headroomv1.UnimplementedStatusServiceServer
	headroomv1.UnimplementedSeverityServiceServer
	headroomv1.UnimplementedDiagnosticsServiceServer

	refuse map[string]headroomv1.RefusedReason

	mu       sync.Mutex
	runs     int
	resumed  int
	whole    map[string][]byte // of run/recorder/name, the newest
	partial  map[string][]byte // what came of uploads that go on or broke off
	uploads  map[string]int
	finished map[string]bool // runs; whether they failed
	logs     []*logPart
	deaf     bool // no log is read any more, until a restart

	server   *grpc.Server
	listener *bufconn.Listener

	step chan struct{} // closed and made anew when one is uploaded
}

// logPart is one upload of a log.
type logPart struct {
	run, text string
	sealed    bool
}

func (f *fake) GetStatus(context.Context, *headroomv1.GetStatusRequest) (*headroomv1.GetStatusResponse, error) {
	return &headroomv1.GetStatusResponse{InstanceId: "a", ServerVersion: "0.1.0"}, nil
}

func (f *fake) StartDiagnostics(
	stream grpc.BidiStreamingServer[headroomv1.StartDiagnosticsRequest, headroomv1.StartDiagnosticsResponse],
) error {
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.runs++
	run := string(rune('0' + f.runs))
	if again := req.GetStart().GetRunId(); again != "" {
		run = again
		f.resumed++
	}
	f.stepLocked()
	f.mu.Unlock()
	started := &headroomv1.DiagnosticsStarted{RunId: run, MaxArtifactBytes: 1 << 20}
	for _, name := range req.GetStart().GetRecorders() {
		if reason, ok := f.refuse[name]; ok {
			started.Refused = append(started.Refused, &headroomv1.RefusedRecorder{Name: name, Reason: reason})
			continue
		}
		started.Recorders = append(started.Recorders, &headroomv1.Recorder{Name: name})
	}
	if err := stream.Send(&headroomv1.StartDiagnosticsResponse{Started: started}); err != nil {
		return err
	}
	req, err = stream.Recv()
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.finished[run] = req.GetFinish().GetFailed()
	f.mu.Unlock()
	return stream.Send(&headroomv1.StartDiagnosticsResponse{Finished: &headroomv1.DiagnosticsFinished{
		Artifacts: []*headroomv1.Artifact{{ArtifactId: "x", RunId: run}},
	}})
}

func (f *fake) UploadArtifact(stream grpc.ClientStreamingServer[headroomv1.UploadArtifactRequest, headroomv1.UploadArtifactResponse]) error {
	var key string
	var content []byte
	var log *logPart // nil for another artifact
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if log != nil {
			log.sealed = true
		}
	}()
	for {
		f.mu.Lock()
		deaf := f.deaf && log != nil
		f.mu.Unlock()
		if deaf {
			<-stream.Context().Done()
		}
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if start := req.GetStart(); start != nil {
			key = start.GetRunId() + "/" + start.GetRecorder()
			if start.GetName() != "" {
				key += "/" + start.GetName()
			}
			if start.GetContinues() {
				key += "/continues"
			}
			if start.GetRecorder() == diagnostics.RecorderLogs {
				log = &logPart{run: start.GetRunId()}
				f.mu.Lock()
				f.logs = append(f.logs, log)
				f.mu.Unlock()
			}
		}
		content = append(content, req.GetData()...)
		f.mu.Lock()
		f.partial[key] = content
		if log != nil {
			log.text = string(content)
		}
		f.stepLocked()
		f.mu.Unlock()
	}
	f.mu.Lock()
	f.whole[key] = content
	f.uploads[key]++
	f.stepLocked()
	f.mu.Unlock()
	return stream.SendAndClose(&headroomv1.UploadArtifactResponse{Artifact: &headroomv1.Artifact{ArtifactId: key, SizeBytes: int64(len(content))}})
}

// ListArtifacts lists the logs.
func (f *fake) ListArtifacts(_ context.Context, req *headroomv1.ListArtifactsRequest) (*headroomv1.ListArtifactsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &headroomv1.ListArtifactsResponse{}
	for _, log := range f.logs {
		if log.run != req.GetRunId() || req.GetName() != "task_logs" {
			continue
		}
		a := &headroomv1.Artifact{Part: int32(len(resp.Artifacts)), SizeBytes: int64(len(log.text))}
		if log.sealed {
			a.State = headroomv1.ArtifactState_ARTIFACT_STATE_SEALED
		}
		resp.Artifacts = append(resp.Artifacts, a)
	}
	return resp, nil
}

// log returns what came of the log of a run, in how many parts.
func (f *fake) log(run string) (text string, parts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, log := range f.logs {
		if log.run == run {
			text += log.text
			parts++
		}
	}
	return text, parts
}

func (f *fake) stepLocked() {
	close(f.step)
	f.step = make(chan struct{})
}

// content returns what was uploaded whole.
func (f *fake) content(key string) ([]byte, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.whole[key], f.uploads[key]
}

// await waits until the condition holds, which is given what came, whole and in part, and may read what mu guards.
func (f *fake) await(holds func(whole, partial map[string][]byte) bool) {
	for {
		f.mu.Lock()
		ok, step := holds(maps.Clone(f.whole), maps.Clone(f.partial)), f.step
		f.mu.Unlock()
		if ok {
			return
		}
		<-step
	}
}

// serve runs f and returns a client of it.
func serve(t testing.TB, f *fake) *client.Client {
	t.Helper()
	f.whole, f.partial, f.uploads, f.finished = map[string][]byte{}, map[string][]byte{}, map[string]int{}, map[string]bool{}
	f.step = make(chan struct{})
	f.begin()
	c, err := client.Dial(t.Context(), client.WithDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		f.mu.Lock()
		lis := f.listener
		f.mu.Unlock()
		return lis.DialContext(ctx)
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		f.server.Stop()
	})
	return c
}

// begin begins to serve.
func (f *fake) begin() {
	lis := bufconn.Listen(1 << 20)
	f.mu.Lock()
	f.listener = lis
	f.mu.Unlock()
	f.server = grpc.NewServer(grpc.WaitForHandlers(true))
	headroomv1.RegisterStatusServiceServer(f.server, f)
	headroomv1.RegisterSeverityServiceServer(f.server, f)
	headroomv1.RegisterDiagnosticsServiceServer(f.server, f)
	go func(srv *grpc.Server) { _ = srv.Serve(lis) }(f.server)
}

// restart breaks all connections and serves again.
func (f *fake) restart() {
	f.server.Stop()
	f.mu.Lock()
	f.deaf = false
	f.mu.Unlock()
	f.begin()
}
