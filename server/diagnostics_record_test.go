package server_test

import (
	"context"
	"crypto/sha256"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

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
		!regexp.MustCompile(`^\d+\.\d+(\t[^\t]+){7}$`).MatchString(lines[1]) {
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

func TestAlwaysRecorded(t *testing.T) {
	r := diagnosed(t, func(c *server.DiagnosticsConfig) { c.Allow, c.Always = nil, []string{"goroutines", "cpu_profile"} })
	for range 3 {
		_, started, err := record(t.Context(), r.client, &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"trace"}})
		if err != nil || len(started.GetRecorders()) != 2 || len(started.GetRefused()) != 1 || !started.GetRecorders()[0].GetAlways() {
			t.Errorf("started %v, %v, want both and trace refused", started, err)
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

// Only finish says that a task ended well.
func TestRecordingWithoutFinish(t *testing.T) {
	r := diagnosed(t, nil)
	start := &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"logs"}}
	for name, second := range map[string]*headroomv1.StartDiagnosticsRequest{"empty": {}, "begun twice": {Start: start}} {
		t.Run(name, func(t *testing.T) {
			stream, _, err := record(t.Context(), r.client, start)
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(second); err != nil {
				t.Fatal(err)
			}
			_, err = stream.Recv()
			checkError(t, err, codes.InvalidArgument, "INVALID_FIELDS")
		})
	}
}
