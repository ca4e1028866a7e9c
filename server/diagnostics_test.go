package server_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// recorded is a running server with diagnostics, and the directory of its artifacts.
type recorded struct {
	*fixture
	dir    string
	client headroomv1.DiagnosticsServiceClient // of an operator
	others map[string]*bufconn.Listener        // of further identities
}

var all = []string{"memory", "cpu_profile", "allocation_profile", "trace", "goroutines", "logs", "file"}

func diagnosed(t testing.TB, change func(*server.DiagnosticsConfig), identities ...server.Identity) *recorded {
	t.Helper()
	r := &recorded{dir: filepath.Join(t.TempDir(), "artifacts"), others: make(map[string]*bufconn.Listener)}
	r.fixture = start(t, settings{server: func(c *server.Config) {
		c.Diagnostics = server.DiagnosticsConfig{Allow: all, Dir: r.dir}
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

func TestDiagnosticsAreOffByDefault(t *testing.T) {
	f := start(t, settings{})
	client := headroomv1.NewDiagnosticsServiceClient(f.conn)
	_, err := client.ListArtifacts(t.Context(), &headroomv1.ListArtifactsRequest{})
	checkError(t, err, codes.Unimplemented, "DIAGNOSTICS_OFF")
	_, _, err = record(t.Context(), client, &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"memory"}})
	checkError(t, err, codes.Unimplemented, "DIAGNOSTICS_OFF")
}

func TestRecordMemoryOfAProcess(t *testing.T) {
	r := diagnosed(t, func(c *server.DiagnosticsConfig) {
		c.Allow, c.MemoryInterval = []string{"memory_profile", "goroutines"}, 100*time.Millisecond
	})
	stream, started, err := record(t.Context(), r.client, &headroomv1.DiagnosticsStart{
		TaskId: "crawl", Recorders: []string{" memory ", "memray", "goroutines", "nonsense"}, Pid: int64(os.Getpid()),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(started.GetRecorders()); got != 2 || started.GetMemoryInterval().AsDuration() != 100*time.Millisecond {
		t.Errorf("started %v", started)
	}
	var refused []string
	for _, f := range started.GetRefused() {
		refused = append(refused, f.GetName()+" "+f.GetReason().String())
	}
	if want := []string{"memray REFUSED_REASON_NOT_ALLOWED", "nonsense REFUSED_REASON_NOT_KNOWN"}; !slices.Equal(refused, want) {
		t.Errorf("refused are %q, want %q", refused, want)
	}
	if open := list(t, r.client, &headroomv1.ListArtifactsRequest{RunId: started.GetRunId()}); len(open) != 1 ||
		open[0].GetState() != headroomv1.ArtifactState_ARTIFACT_STATE_WRITING {
		t.Errorf("while it runs there is %v", open)
	} else if _, _, err := download(t.Context(), r.client, &headroomv1.DownloadArtifactRequest{ArtifactId: open[0].GetArtifactId()}); reason(err) != "NOT_SEALED" {
		t.Errorf("a download while it runs: %v", err)
	}
	artifacts := finish(t, stream, true)
	if len(artifacts) != 1 {
		t.Fatalf("finished with %v", artifacts)
	}
	a := artifacts[0]
	if a.GetName() != "memory_profile" || a.GetFileName() != "memory.datum" || !a.GetFailed() || a.GetState() != headroomv1.ArtifactState_ARTIFACT_STATE_SEALED ||
		!slices.Equal(a.GetRecordedWith(), []string{"goroutines"}) {
		t.Errorf("the artifact is %v", a)
	}
	if left := a.GetExpireTime().AsTime().Sub(a.GetEndTime().AsTime()); left < 71*time.Hour {
		t.Errorf("that of a failed task is kept for %v", left)
	}
	text, _, err := download(t.Context(), r.client, &headroomv1.DownloadArtifactRequest{ArtifactId: a.GetArtifactId()})
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(text), "\n"); len(lines) < 3 || !strings.HasPrefix(lines[0], "# Seconds\tMemory in MB") ||
		!strings.HasPrefix(lines[1], "0.") || len(strings.Split(lines[1], "\t")) != 8 {
		t.Errorf("the log of a short task is\n%s", text)
	}
	if sum := sha256.Sum256([]byte(text)); string(sum[:]) != string(a.GetSha256()) {
		t.Error("the digest is another")
	}
	for form, want := range map[headroomv1.ArtifactForm]string{
		headroomv1.ArtifactForm_ARTIFACT_FORM_JSON: `{"samples":[{"seconds":`,
		headroomv1.ArtifactForm_ARTIFACT_FORM_SVG:  `<svg xmlns=`,
	} {
		shown, _, err := download(t.Context(), r.client, &headroomv1.DownloadArtifactRequest{ArtifactId: a.GetArtifactId(), Form: form})
		if err != nil || !strings.HasPrefix(shown, want) {
			t.Errorf("as %v it is %.60q, %v", form, shown, err)
		}
	}
}

// A worker that dies says nothing: what there is is sealed as that of a failed task.
func TestBrokenStreams(t *testing.T) {
	r := diagnosed(t, nil)
	ctx, kill := context.WithCancel(t.Context())
	_, started, err := record(ctx, r.client, &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"memory", "logs"}, Pid: int64(os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := upload(ctx, r.client, &headroomv1.UploadStart{TaskId: "t", RunId: started.GetRunId(), Recorder: "cpu_profile"}, "first window")
	if err != nil {
		t.Fatal(err)
	}
	for _, start := range []*headroomv1.UploadStart{
		{TaskId: "t", RunId: started.GetRunId(), Recorder: "logs"},
		{TaskId: "t", RunId: started.GetRunId(), Recorder: "cpu_profile"}, // there is a whole one
	} {
		stream, err := r.client.UploadArtifact(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&headroomv1.UploadArtifactRequest{Start: start, Data: []byte("line 1\n")}); err != nil {
			t.Fatal(err)
		}
	}
	await(t, func() bool { return len(list(t, r.client, &headroomv1.ListArtifactsRequest{TaskId: "t"})) == 4 })
	kill()
	await(t, func() bool {
		all := list(t, r.client, &headroomv1.ListArtifactsRequest{TaskId: "t"})
		return len(all) == 3 && !slices.ContainsFunc(all, func(a *headroomv1.Artifact) bool {
			return a.GetState() != headroomv1.ArtifactState_ARTIFACT_STATE_SEALED || !a.GetFailed()
		})
	})
	for _, a := range list(t, r.client, &headroomv1.ListArtifactsRequest{TaskId: "t"}) {
		text, _, err := download(t.Context(), r.client, &headroomv1.DownloadArtifactRequest{ArtifactId: a.GetArtifactId()})
		switch {
		case err != nil:
			t.Error(err)
		case a.GetName() == "task_logs" && (text != "line 1\n" || a.GetTruncatedReason() == ""):
			t.Errorf("the log of a killed worker is %q, %v", text, a)
		case a.GetName() == "cpu_profile" && (a.GetArtifactId() != whole.GetArtifactId() || a.GetTruncatedReason() != ""):
			t.Errorf("the profile of a killed worker is %v, want the whole one", a)
		}
	}
}

// await waits until the condition holds.
func await(t *testing.T, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatal("what was waited for does not happen")
		}
		runtime.Gosched()
	}
}

func TestUpload(t *testing.T) {
	r := diagnosed(t, func(c *server.DiagnosticsConfig) {
		c.Allow, c.MaxArtifactBytes = []string{"file", "logs"}, 10
	})
	size := int64(4)
	for name, tt := range map[string]struct {
		start  *headroomv1.UploadStart
		parts  []string
		code   codes.Code
		reason string
		kept   string
		cut    string
	}{
		"whole":         {&headroomv1.UploadStart{TaskId: "t", Recorder: "file", Name: "a.txt"}, []string{"12345", "67890"}, codes.OK, "", "1234567890", ""},
		"one byte over": {&headroomv1.UploadStart{TaskId: "t", Recorder: "file", Name: "b"}, []string{"12345", "678901"}, codes.ResourceExhausted, "ARTIFACT_TOO_LARGE", "12345", "limit"},
		"declared":      {&headroomv1.UploadStart{TaskId: "t", Recorder: "file", Name: "c", SizeBytes: &size}, []string{"1234"}, codes.OK, "", "1234", ""},
		"more":          {&headroomv1.UploadStart{TaskId: "t", Recorder: "file", Name: "d", SizeBytes: &size}, []string{"1234", "5"}, codes.InvalidArgument, "INVALID_FIELDS", "1234", "declared"},
		"less":          {&headroomv1.UploadStart{TaskId: "t", Recorder: "file", Name: "e", SizeBytes: &size}, []string{"123"}, codes.OK, "", "123", "declared"},
		"Pulp's name":   {&headroomv1.UploadStart{TaskId: "t", Recorder: "task_logs"}, []string{"line"}, codes.OK, "", "line", ""},
		"not allowed":   {&headroomv1.UploadStart{TaskId: "t", Recorder: "trace"}, nil, codes.PermissionDenied, "NOT_ALLOWED", "", ""},
		"no recorder":   {&headroomv1.UploadStart{TaskId: "t", Recorder: "ebpf"}, nil, codes.InvalidArgument, "INVALID_FIELDS", "", ""},
		"no name":       {&headroomv1.UploadStart{TaskId: "t", Recorder: "file"}, nil, codes.InvalidArgument, "INVALID_FIELDS", "", ""},
		"a path":        {&headroomv1.UploadStart{TaskId: "t", Recorder: "file", Name: "../x"}, nil, codes.InvalidArgument, "INVALID_FIELDS", "", ""},
		"an odd task":   {&headroomv1.UploadStart{TaskId: "t\x1b[2J", Recorder: "logs"}, nil, codes.InvalidArgument, "INVALID_FIELDS", "", ""},
		"nothing":       {nil, nil, codes.InvalidArgument, "INVALID_FIELDS", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := ids(list(t, r.client, &headroomv1.ListArtifactsRequest{}))
			_, err := upload(t.Context(), r.client, tt.start, tt.parts...)
			if tt.code == codes.OK && err != nil {
				t.Fatal(err)
			}
			if tt.code != codes.OK {
				checkError(t, err, tt.code, tt.reason)
			}
			var kept []*headroomv1.Artifact
			for _, a := range list(t, r.client, &headroomv1.ListArtifactsRequest{}) {
				if !slices.Contains(before, a.GetArtifactId()) {
					kept = append(kept, a)
				}
			}
			if tt.kept == "" {
				if len(kept) > 0 {
					t.Errorf("%v is kept", kept)
				}
				return
			}
			text, a, err := download(t.Context(), r.client, &headroomv1.DownloadArtifactRequest{ArtifactId: kept[0].GetArtifactId()})
			if err != nil || text != tt.kept || !strings.Contains(a.GetTruncatedReason(), tt.cut) || (tt.cut == "") != (a.GetTruncatedReason() == "") {
				t.Errorf("kept is %q, %v, %v", text, a, err)
			}
		})
	}
}

func ids(all []*headroomv1.Artifact) []string {
	var list []string
	for _, a := range all {
		list = append(list, a.GetArtifactId())
	}
	return list
}

// What looks like a bomb is bytes like any others.
func TestUploadedBombsAreNotUnpacked(t *testing.T) {
	r := diagnosed(t, nil)
	bomb := "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + strings.Repeat("\x00", 100_000)
	a, err := upload(t.Context(), r.client, &headroomv1.UploadStart{TaskId: "t", Recorder: "cpu_profile"}, bomb)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := download(t.Context(), r.client, &headroomv1.DownloadArtifactRequest{ArtifactId: a.GetArtifactId()}); err != nil || got != bomb {
		t.Errorf("it comes back with %d bytes, %v", len(got), err)
	}
	_, _, err = download(t.Context(), r.client, &headroomv1.DownloadArtifactRequest{ArtifactId: a.GetArtifactId(), Form: headroomv1.ArtifactForm_ARTIFACT_FORM_SVG})
	checkError(t, err, codes.FailedPrecondition, "FORM")
	fake, err := upload(t.Context(), r.client, &headroomv1.UploadStart{TaskId: "t", Recorder: "memory_profile"}, bomb)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = download(t.Context(), r.client, &headroomv1.DownloadArtifactRequest{ArtifactId: fake.GetArtifactId(), Form: headroomv1.ArtifactForm_ARTIFACT_FORM_JSON})
	checkError(t, err, codes.FailedPrecondition, "FORM")
}

func TestDownloadRanges(t *testing.T) {
	r := diagnosed(t, nil)
	text := strings.Repeat("0123456789", 20_000)
	a := mustUpload(t, r.client, "t", "digits", text[:100_000], text[100_000:])
	for _, tt := range []struct{ offset, length int64 }{
		{0, 0}, {0, 1}, {5, 10}, {65_530, 20}, {199_999, 0}, {199_999, 100}, {200_000, 0}, {100, 150_000}, {0, 1 << 60},
	} {
		want := text[tt.offset:]
		if tt.length > 0 {
			want = want[:min(tt.length, int64(len(want)))]
		}
		got, _, err := download(t.Context(), r.client, &headroomv1.DownloadArtifactRequest{ArtifactId: a.GetArtifactId(), Offset: tt.offset, Length: tt.length})
		if err != nil || got != want {
			t.Errorf("from %d, %d bytes: %d come, %v, want %d", tt.offset, tt.length, len(got), err, len(want))
		}
	}
	_, _, err := download(t.Context(), r.client, &headroomv1.DownloadArtifactRequest{ArtifactId: a.GetArtifactId(), Offset: 200_001})
	checkError(t, err, codes.OutOfRange, "RANGE")
}

// What is another's does not exist: the answers are the same, but for the id.
func TestArtifactsOfOthers(t *testing.T) {
	r := diagnosed(t, nil, aWorker("uid:1"), aWorker("uid:2"))
	one, two := r.as(t, "uid:1"), r.as(t, "uid:2")
	secret := mustUpload(t, one, "t", "heap", "planted secret")
	own := mustUpload(t, two, "t", "own", "x")
	if got := ids(list(t, two, &headroomv1.ListArtifactsRequest{TaskId: "t"})); !slices.Equal(got, []string{own.GetArtifactId()}) {
		t.Errorf("another identity sees %v", got)
	}
	if got := list(t, two, &headroomv1.ListArtifactsRequest{ExpiringWithin: durationpb.New(1000 * time.Hour)}); len(got) != 1 {
		t.Errorf("another identity sees %v expire", got)
	}
	for _, id := range []string{secret.GetArtifactId(), strings.Repeat("A", 26), "../manifests/" + secret.GetArtifactId(), secret.GetArtifactId() + "/", "\u202e", strings.Repeat(".", 128)} {
		_, _, err := download(t.Context(), two, &headroomv1.DownloadArtifactRequest{ArtifactId: id})
		checkError(t, err, codes.NotFound, "ARTIFACT_NOT_FOUND")
		_, err = two.DeleteArtifact(t.Context(), &headroomv1.DeleteArtifactRequest{ArtifactId: id})
		checkError(t, err, codes.NotFound, "ARTIFACT_NOT_FOUND")
	}
	_, err := one.PinArtifact(t.Context(), &headroomv1.PinArtifactRequest{ArtifactId: secret.GetArtifactId()})
	checkError(t, err, codes.PermissionDenied, "ROLE_REQUIRED")
	if pinned, err := r.client.PinArtifact(t.Context(), &headroomv1.PinArtifactRequest{ArtifactId: secret.GetArtifactId()}); err != nil || !pinned.GetArtifact().GetPinned() {
		t.Errorf("an operator pins: %v, %v", pinned, err)
	}
	if got := list(t, r.client, &headroomv1.ListArtifactsRequest{}); len(got) != 2 {
		t.Errorf("an operator sees %v", got)
	}
	if _, err := one.DeleteArtifact(t.Context(), &headroomv1.DeleteArtifactRequest{ArtifactId: secret.GetArtifactId()}); err != nil {
		t.Error(err)
	}
	// A process of another user, or none, is not there.
	_, _, err = record(t.Context(), one, &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"memory"}, Pid: int64(os.Getpid())})
	checkError(t, err, codes.PermissionDenied, "ROLE_REQUIRED")
	_, _, err = record(t.Context(), r.client, &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"memory"}, Pid: 1<<22 - 1})
	checkError(t, err, codes.NotFound, "PROCESS_NOT_FOUND")
}

// Of 1,000 that ask at once to be profiled, one is.
func TestProfilesAreBounded(t *testing.T) {
	const callers = 1000
	r := diagnosed(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var mu sync.Mutex
	var wait sync.WaitGroup
	reasons := map[string]int{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range callers {
		wait.Go(func() {
			_, started, err := record(ctx, r.client, &headroomv1.DiagnosticsStart{TaskId: fmt.Sprint(i), Recorders: []string{"cpu_profile", "trace"}})
			mu.Lock()
			defer mu.Unlock()
			reasons[reason(err)]++
			if err == nil && len(started.GetRecorders()) != 2 {
				t.Errorf("started %v", started)
			}
		})
	}
	wait.Wait()
	if reasons[""] != 1 || reasons["PROFILES"] != callers-1 {
		t.Errorf("the answers are %v, want one that runs and 999 PROFILES", reasons)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 20<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	// What needs no profiler is recorded beside, and the refused are named.
	_, started, err := record(ctx, r.client, &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"cpu_profile", "goroutines"}})
	if err != nil || len(started.GetRecorders()) != 1 || started.GetRefused()[0].GetReason() != headroomv1.RefusedReason_REFUSED_REASON_BUSY {
		t.Errorf("started %v, %v", started, err)
	}
	// Once it has ended the next one may.
	cancel()
	await(t, func() bool {
		_, _, err := record(t.Context(), r.client, &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"cpu_profile"}})
		return err == nil
	})
}

func TestAlwaysRecorded(t *testing.T) {
	r := diagnosed(t, func(c *server.DiagnosticsConfig) { c.Allow, c.Always = nil, []string{"goroutines", "cpu_profile"} })
	for range 3 {
		_, started, err := record(t.Context(), r.client, &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"trace"}})
		if err != nil || len(started.GetRecorders()) != 2 || len(started.GetRefused()) != 1 || !started.GetRecorders()[0].GetAlways() {
			t.Errorf("started %v, %v, want both and trace refused", started, err)
		}
	}
}

func TestRecordingsOfOneIdentity(t *testing.T) {
	r := diagnosed(t, func(c *server.DiagnosticsConfig) { c.MaxRecordings, c.MaxTransfers = 8, 8 }, aWorker("uid:1"), aWorker("uid:2"))
	greedy, honest := r.as(t, "uid:1"), r.as(t, "uid:2")
	start := &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"goroutines"}}
	for i := range 3 {
		_, _, err := record(t.Context(), greedy, start)
		if i < 2 && err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			checkError(t, err, codes.ResourceExhausted, "RECORDINGS")
		}
	}
	if _, _, err := record(t.Context(), honest, start); err != nil {
		t.Errorf("another identity: %v", err)
	}
}

// A shutdown seals what is being recorded, and a restart lists it.
func TestDiagnosticsSurviveARestart(t *testing.T) {
	r := diagnosed(t, nil)
	_, _, err := record(t.Context(), r.client, &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"memory"}, Pid: int64(os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.shutdown(); err != nil {
		t.Fatal(err)
	}
	again := diagnosed(t, func(c *server.DiagnosticsConfig) { c.Dir = r.dir })
	all := list(t, again.client, &headroomv1.ListArtifactsRequest{})
	if len(all) != 1 || all[0].GetState() != headroomv1.ArtifactState_ARTIFACT_STATE_SEALED || all[0].GetTruncatedReason() != "the server shut down" {
		t.Fatalf("after a restart there is %v", all)
	}
	if text, _, err := download(t.Context(), again.client, &headroomv1.DownloadArtifactRequest{ArtifactId: all[0].GetArtifactId()}); err != nil || strings.Count(text, "\n") < 3 {
		t.Errorf("it holds %q, %v", text, err)
	}
}

func TestDiagnosticsConfigFaults(t *testing.T) {
	_, err := server.New(server.Config{Diagnostics: server.DiagnosticsConfig{
		Allow: []string{"ebpf"}, Always: []string{"nothing"}, TTL: time.Second, MemoryInterval: time.Millisecond, URLTTL: 2 * time.Hour,
		MaxBytes: -1, MaxProfiles: 1001, MaxSeverity: -1, MaxRecordings: -1, MaxTransfers: 100_001,
	}})
	for _, want := range []string{"ebpf", "nothing", "Dir", "TTL", "MemoryInterval", "URLTTL", "MaxBytes", "MaxProfiles", "MaxSeverity", "MaxRecordings", "MaxTransfers"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}

// A registered task needs no pid to be recorded, and what is always recorded needs no asking.
func TestRegisteredTasksAreRecorded(t *testing.T) {
	r := diagnosed(t, func(c *server.DiagnosticsConfig) {
		c.Always, c.MemoryInterval = []string{"memory"}, 100*time.Millisecond
	})
	tasks := headroomv1.NewTaskServiceClient(r.conn)
	registered, err := tasks.RegisterTask(t.Context(), &headroomv1.RegisterTaskRequest{
		Name: "crawl", Processes: []*headroomv1.TaskProcess{{Name: "main", Pid: int64(os.Getpid())}},
	})
	if err != nil {
		t.Fatal(err)
	}
	id := registered.GetTask().GetTaskId()
	await(t, func() bool { return len(list(t, r.client, &headroomv1.ListArtifactsRequest{TaskId: id})) == 1 })
	stream, started, err := record(t.Context(), r.client, &headroomv1.DiagnosticsStart{TaskId: id, Recorders: []string{"memory"}})
	if err != nil || len(started.GetRecorders()) != 1 {
		t.Fatalf("without a pid: %v, %v", started, err)
	}
	if artifacts := finish(t, stream, false); len(artifacts) != 1 {
		t.Errorf("without a pid there is %v", artifacts)
	}
	code := int32(3)
	if _, err := tasks.UnregisterTask(t.Context(), &headroomv1.UnregisterTaskRequest{TaskId: id, ExitCode: &code}); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		all := list(t, r.client, &headroomv1.ListArtifactsRequest{TaskId: id})
		return len(all) == 2 && !slices.ContainsFunc(all, func(a *headroomv1.Artifact) bool {
			return a.GetState() != headroomv1.ArtifactState_ARTIFACT_STATE_SEALED
		}) && slices.ContainsFunc(all, (*headroomv1.Artifact).GetFailed)
	})
}
