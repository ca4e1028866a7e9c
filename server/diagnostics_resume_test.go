package server_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

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

// A recording that goes on after a restart of the server is the same run, and each artifact of before stays beside the
// part that goes on from it.
func TestRecordingGoesOnAfterARestart(t *testing.T) {
	begin := &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"memory"}, Pid: int64(os.Getpid())}
	r := diagnosed(t, nil)
	_, started, err := record(t.Context(), r.client, begin)
	if err != nil {
		t.Fatal(err)
	}
	begin.RunId = started.GetRunId()
	if _, err := upload(t.Context(), r.client, &headroomv1.UploadStart{
		TaskId: "t", RunId: begin.RunId, Recorder: "logs", SizeBytes: new(int64),
	}, "one"); err == nil {
		t.Fatal("more than was declared is no error")
	}
	if err := r.shutdown(); err != nil {
		t.Fatal(err)
	}
	r = diagnosed(t, func(c *server.DiagnosticsConfig) { c.Dir = r.dir })
	for range 2 {
		stream, again, err := record(t.Context(), r.client, begin)
		if err != nil || again.GetRunId() != begin.GetRunId() {
			t.Fatalf("begun again: %v, %v, want run %s", again, err, begin.RunId)
		}
		finish(t, stream, false)
		if _, err := upload(t.Context(), r.client, &headroomv1.UploadStart{
			TaskId: "t", RunId: begin.RunId, Recorder: "logs", Continues: true,
		}, "two"); err != nil {
			t.Fatal(err)
		}
	}
	parts := map[string][]int32{}
	for _, a := range list(t, r.client, &headroomv1.ListArtifactsRequest{RunId: begin.RunId}) {
		parts[a.GetName()] = append(parts[a.GetName()], a.GetPart())
		if (a.GetTruncatedReason() != "") != (a.GetPart() == 0) {
			t.Errorf("part %d of %s is cut short: %q", a.GetPart(), a.GetName(), a.GetTruncatedReason())
		}
	}
	for _, name := range []string{"memory_profile", "task_logs"} {
		if slices.Sort(parts[name]); !slices.Equal(parts[name], []int32{0, 1, 2}) {
			t.Errorf("parts of %s: %v, want 0 to 2", name, parts[name])
		}
	}
}

// A recording whose connection broke counts as that of a failed task, until it goes on: then as the task ends in the
// end. The call that broke has no say in that, whenever the server notices.
func TestRecordingEndsAsTheTask(t *testing.T) {
	r := diagnosed(t, nil)
	begin := &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"memory"}, Pid: int64(os.Getpid())}
	all := func() []*headroomv1.Artifact {
		return list(t, r.client, &headroomv1.ListArtifactsRequest{TaskId: "t"})
	}
	sealed := func(n int, failed bool) bool {
		return len(all()) == n && !slices.ContainsFunc(all(), func(a *headroomv1.Artifact) bool {
			return a.GetState() != headroomv1.ArtifactState_ARTIFACT_STATE_SEALED || a.GetFailed() != failed
		})
	}
	ctx, lose := context.WithCancel(t.Context())
	_, started, err := record(ctx, r.client, begin)
	if err != nil {
		t.Fatal(err)
	}
	begin.RunId = started.GetRunId()
	stream, err := r.client.UploadArtifact(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&headroomv1.UploadArtifactRequest{
		Start: &headroomv1.UploadStart{TaskId: "t", RunId: begin.RunId, Recorder: "logs"}, Data: []byte("line\n"),
	}); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return len(all()) == 2 })
	lose()
	await(t, func() bool { return sealed(2, true) })

	// It goes on twice: the server has yet to notice that the first of these calls is nobody's any more.
	forgotten, _, err := record(t.Context(), r.client, begin)
	if err != nil {
		t.Fatal(err)
	}
	last, _, err := record(t.Context(), r.client, begin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forgotten.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("the call before the last ends with %v, want that it is cancelled", err)
	}
	finish(t, last, false)
	if !sealed(4, false) {
		t.Errorf("after it ended well there is %v, want 4 artifacts of a task that ended well", all())
	}
	for _, a := range all() {
		if kept := time.Until(a.GetExpireTime().AsTime()); kept > 24*time.Hour {
			t.Errorf("%s, part %d, is kept for %v", a.GetName(), a.GetPart(), kept)
		}
	}
}
