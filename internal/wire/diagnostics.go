package wire

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/headroom-rpc/headroom/diagnostics"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// Artifact returns the message of an artifact.
func Artifact(a *diagnostics.Artifact) *headroomv1.Artifact {
	recorder, _ := diagnostics.Lookup(a.Recorder)
	p := &headroomv1.Artifact{
		ArtifactId:   a.ID,
		Owner:        text(a.Owner),
		TaskId:       text(a.Task),
		RunId:        text(a.Run),
		Name:         text(a.Name),
		Recorder:     text(a.Recorder),
		FileName:     a.FileName(),
		MediaType:    recorder.MediaType,
		Overhead:     headroomv1.Overhead(recorder.Overhead),
		State:        headroomv1.ArtifactState_ARTIFACT_STATE_WRITING,
		BeginTime:    timestamppb.New(a.Begin),
		SizeBytes:    a.Size,
		RecordedWith: texts(a.With),
		Failed:       a.Failed,
		Pinned:       a.Pinned,
		Part:         int32Of(a.Part),
	}
	if a.Sealed {
		p.State = headroomv1.ArtifactState_ARTIFACT_STATE_SEALED
		p.EndTime, p.ExpireTime = timestamppb.New(a.End), timestamppb.New(a.Expire)
		p.Sha256 = a.SHA256[:]
		p.TruncatedReason = text(a.Truncated)
	}
	return p
}

// Artifacts returns the messages of artifacts.
func Artifacts(all []diagnostics.Artifact) []*headroomv1.Artifact {
	list := make([]*headroomv1.Artifact, len(all))
	for i := range all {
		list[i] = Artifact(&all[i])
	}
	return list
}

// ArtifactFrom returns the artifact of a message. What it says of the recorder beside its name is this version's
// own. A digest of another length than 32 bytes is zero.
func ArtifactFrom(p *headroomv1.Artifact) diagnostics.Artifact {
	a := diagnostics.Artifact{
		ID: p.GetArtifactId(),
		Header: diagnostics.Header{
			Owner: p.GetOwner(), Task: p.GetTaskId(), Run: p.GetRunId(), Name: p.GetName(), Recorder: p.GetRecorder(),
			Begin: timeFrom(p.GetBeginTime()), With: p.GetRecordedWith(), Failed: p.GetFailed(),
			Part: count(p.GetPart()),
		},
		Sealed:    p.GetState() == headroomv1.ArtifactState_ARTIFACT_STATE_SEALED,
		Size:      max(0, p.GetSizeBytes()),
		Truncated: p.GetTruncatedReason(),
		Pinned:    p.GetPinned(),
	}
	if a.Sealed {
		a.End, a.Expire = timeFrom(p.GetEndTime()), timeFrom(p.GetExpireTime())
		if len(p.GetSha256()) == len(a.SHA256) {
			copy(a.SHA256[:], p.GetSha256())
		}
	}
	return a
}

// ArtifactsFrom returns the artifacts of messages.
func ArtifactsFrom(list []*headroomv1.Artifact) []diagnostics.Artifact {
	all := make([]diagnostics.Artifact, len(list))
	for i, p := range list {
		all[i] = ArtifactFrom(p)
	}
	return all
}

// Recorder returns the message of a recorder.
func Recorder(r diagnostics.Recorder, allowed, always bool) *headroomv1.Recorder {
	return &headroomv1.Recorder{
		Name: r.Name, Artifact: r.Artifact, Overhead: headroomv1.Overhead(r.Overhead), Outside: r.Outside,
		Allowed: allowed, Always: always,
	}
}

// Refused returns the message of a recorder that was refused.
func Refused(r diagnostics.Refusal) *headroomv1.RefusedRecorder {
	return &headroomv1.RefusedRecorder{
		Name: text(r.Name), Reason: headroomv1.RefusedReason(r.Reason), Text: r.Reason.String(),
	}
}

// RefusalsFrom returns what was refused.
func RefusalsFrom(list []*headroomv1.RefusedRecorder) []diagnostics.Refusal {
	var all []diagnostics.Refusal
	for _, p := range list {
		all = append(all, diagnostics.Refusal{Name: p.GetName(), Reason: diagnostics.Reason(max(0, min(p.GetReason(), 255)))})
	}
	return all
}

func texts(all []string) []string {
	var valid []string
	for _, s := range all {
		valid = append(valid, text(s))
	}
	return valid
}
