package server_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

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

// A stream is one artifact.
func TestUploadBegunTwice(t *testing.T) {
	r := diagnosed(t, nil)
	stream, err := r.client.UploadArtifact(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := &headroomv1.UploadStart{TaskId: "t", Recorder: "file", Name: "a"}
	for _, part := range []string{"1", "2"} {
		if err := stream.Send(&headroomv1.UploadArtifactRequest{Start: start, Data: []byte(part)}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = stream.CloseAndRecv()
	checkError(t, err, codes.InvalidArgument, "INVALID_FIELDS")
	if kept := list(t, r.client, &headroomv1.ListArtifactsRequest{}); len(kept) != 1 || kept[0].GetSizeBytes() != 1 ||
		kept[0].GetTruncatedReason() == "" {
		t.Errorf("kept are %v, want one of the first byte, as truncated", kept)
	}
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
