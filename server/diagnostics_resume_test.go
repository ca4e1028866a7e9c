package server_test

import (
	"os"
	"slices"
	"testing"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

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
