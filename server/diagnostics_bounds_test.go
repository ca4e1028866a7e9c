package server_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

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
	// What is in an artifact is nowhere else.
	_, metrics := page(t, r.pages.DialContext, "GET", "/metrics", "localhost")
	if log := r.log.String(); !strings.Contains(log, secret.GetArtifactId()) || strings.Contains(log+metrics, "planted secret") {
		t.Errorf("the log, which must name the artifact and not hold it:\n%s\nthe metrics, neither:\n%s", log, metrics)
	}
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

func TestArtifactsOnNoPage(t *testing.T) {
	r := diagnosed(t, nil)
	for _, token := range []string{"garbage", "-1"} {
		_, err := r.client.ListArtifacts(t.Context(), &headroomv1.ListArtifactsRequest{PageToken: token})
		checkError(t, err, codes.InvalidArgument, "INVALID_FIELDS")
	}
}
