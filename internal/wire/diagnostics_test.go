package wire_test

import (
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/headroom-rpc/headroom/diagnostics"
	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func TestArtifactRoundTrip(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	writing := diagnostics.Artifact{
		ID: "AAAAAAAAAAAAAAAAAAAAAAAAAA", Size: 7,
		Header: diagnostics.Header{Owner: "uid:1", Task: "t", Run: "r", Name: "memory_profile",
			Recorder: diagnostics.RecorderMemory, Begin: at, With: []string{"trace"}, Failed: true},
	}
	sealed := writing
	sealed.Sealed, sealed.Pinned, sealed.Truncated = true, true, "killed"
	sealed.End, sealed.Expire, sealed.SHA256 = at.Add(time.Second), at.Add(time.Hour), diagnostics.Digest{1, 31: 2}
	for _, want := range []diagnostics.Artifact{writing, sealed} {
		encoded, err := proto.Marshal(wire.Artifact(&want))
		if err != nil {
			t.Fatal(err)
		}
		var p headroomv1.Artifact
		if err := proto.Unmarshal(encoded, &p); err != nil {
			t.Fatal(err)
		}
		if got := wire.ArtifactFrom(&p); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if p.GetFileName() != "memory.datum" || p.GetOverhead() != headroomv1.Overhead_OVERHEAD_LOW {
			t.Errorf("the message says %q, %v", p.GetFileName(), p.GetOverhead())
		}
	}
}

// Numbers are those of the contract, and what is beyond this version is told as it came or as unknown.
func TestDiagnosticsNumbers(t *testing.T) {
	for reason, want := range map[diagnostics.Reason]headroomv1.RefusedReason{
		diagnostics.NotKnown:   headroomv1.RefusedReason_REFUSED_REASON_NOT_KNOWN,
		diagnostics.NotAllowed: headroomv1.RefusedReason_REFUSED_REASON_NOT_ALLOWED,
		diagnostics.Busy:       headroomv1.RefusedReason_REFUSED_REASON_BUSY,
		diagnostics.Severe:     headroomv1.RefusedReason_REFUSED_REASON_SEVERE,
		diagnostics.NoProcess:  headroomv1.RefusedReason_REFUSED_REASON_NO_PROCESS,
	} {
		p := wire.Refused(diagnostics.Refusal{Name: "x\xff", Reason: reason})
		if p.GetReason() != want || p.GetText() == "" {
			t.Errorf("%v is sent as %v", reason, p)
		}
		if got := wire.RefusalsFrom([]*headroomv1.RefusedRecorder{p}); got[0].Reason != reason {
			t.Errorf("%v comes back as %v", reason, got)
		}
	}
	for _, r := range diagnostics.Recorders() {
		if got := wire.Recorder(r, true, false).GetOverhead().String(); r.Overhead != 0 && got[len("OVERHEAD_"):][0]|0x20 != r.Overhead.String()[0] {
			t.Errorf("%s: overhead %v is sent as %s", r.Name, r.Overhead, got)
		}
	}
	for _, p := range []*headroomv1.Artifact{nil, {}, {SizeBytes: -1, Sha256: []byte{1}, State: 99}} {
		if a := wire.ArtifactFrom(p); a.Sealed || a.Size != 0 {
			t.Errorf("%v is taken as %+v", p, a)
		}
	}
	if got := wire.RefusalsFrom([]*headroomv1.RefusedRecorder{{Reason: -5}, {Reason: 1 << 20}}); got[0].Reason.String() != "unknown" || got[1].Reason.String() != "unknown" {
		t.Errorf("reasons of another version are %v", got)
	}
}
