package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/headroom-rpc/headroom/diagnostics"
	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

const (
	// downloadChunk is the content of one message of a download.
	downloadChunk = 64 << 10

	// maxMemoryLog bounds a memory log that is shown in another form: four months of samples.
	maxMemoryLog = 16 << 20
)

// UploadArtifact implements the RPC. Nothing of what comes is interpreted.
func (s *diagnosticsService) UploadArtifact(
	stream grpc.ClientStreamingServer[headroomv1.UploadArtifactRequest, headroomv1.UploadArtifactResponse],
) error {
	ctx := stream.Context()
	store, identity, err := s.begin(ctx)
	if err != nil {
		return err
	}
	exit, err := s.transfers.enter(identity)
	if err != nil {
		return err
	}
	defer exit()
	requests := receive(ctx, stream.Recv)
	var first *headroomv1.UploadArtifactRequest
	select {
	case got := <-requests:
		if errors.Is(got.err, io.EOF) {
			got.err = startMissing()
		}
		if got.err != nil {
			return got.err
		}
		first = got.message
	case <-s.ended:
		return errDraining
	}
	header, err := s.uploadHeader(identity, first.GetStart())
	if err != nil {
		return err
	}
	if first.GetStart().GetContinues() && header.Run != "" {
		header.Part = store.NextPart(&header)
	}
	w, err := store.Create(header)
	if err != nil {
		return storeError("", err)
	}
	u := &upload{service: s, header: &header, writer: w, declared: first.GetStart().SizeBytes}
	end, err := u.take(ctx, first.GetData(), requests)
	a, sealed := w.Seal(end)
	switch {
	case errors.Is(sealed, diagnostics.ErrReplaced):
		// What was cut short is of no use beside the whole one.
	case sealed != nil:
		s.log.Error("an upload could not be sealed yet", "artifact", w.ID(), "error", sealed.Error())
		return errors.Join(err, sealed)
	case err != nil:
		return &storedError{id: w.ID(), err: err}
	}
	if err != nil {
		return err
	}
	return stream.SendAndClose(&headroomv1.UploadArtifactResponse{Artifact: wire.Artifact(&a)})
}

func startMissing() error {
	invalid := &invalidError{}
	invalid.add("start", "must be set in the first request")
	return invalid
}

// uploadHeader returns what is known of the artifact, or every fault of the request.
func (s *diagnosticsService) uploadHeader(identity Identity, start *headroomv1.UploadStart) (diagnostics.Header, error) {
	if start == nil {
		return diagnostics.Header{}, startMissing()
	}
	invalid := &invalidError{}
	h := diagnostics.Header{
		Owner: identity.Name, Task: start.GetTaskId(), Run: start.GetRunId(), Name: start.GetName(),
		Begin: time.Now(), Failed: start.GetFailed(),
	}
	checkRun(invalid, h.Task, h.Run)
	if start.GetBeginTime() != nil {
		if begin := start.GetBeginTime().AsTime(); start.GetBeginTime().IsValid() && !begin.After(h.Begin.Add(time.Hour)) {
			h.Begin = begin
		} else {
			invalid.add("start.begin_time", "must be a time that was")
		}
	}
	r, ok := diagnostics.Lookup(start.GetRecorder())
	switch {
	case !ok:
		invalid.add("start.recorder", "%q is no recorder", clip(start.GetRecorder()))
	case r.Artifact == "" && h.Name == "":
		invalid.add("start.name", "must be given for recorder %s", r.Name)
	case r.Artifact != "" && h.Name != "" && h.Name != r.Artifact:
		invalid.add("start.name", "must be %s, or empty, for recorder %s", r.Artifact, r.Name)
	case !s.allows(r):
		return h, &recorderError{name: r.Name}
	case r.Artifact != "":
		h.Name = r.Artifact
	}
	h.Recorder = r.Name
	if len(invalid.violations) > 0 {
		return h, invalid
	}
	return h, nil
}

// checkRun adds what is wrong with the names of a recording.
func checkRun(invalid *invalidError, task, run string) {
	if !diagnostics.ValidText(task, diagnostics.MaxTask) {
		invalid.add("start.task_id", "must be printable text of 1 to %d bytes", diagnostics.MaxTask)
	}
	if run != "" && !diagnostics.ValidText(run, 64) {
		invalid.add("start.run_id", "must be printable text of up to 64 bytes")
	}
}

// An upload is one call of UploadArtifact once it began.
type upload struct {
	service  *diagnosticsService
	header   *diagnostics.Header
	writer   *diagnostics.Writer
	declared *int64
	size     int64
}

// take stores the content as it comes. It returns how the artifact ends, and why the call does, nil when all came.
func (u *upload) take(
	ctx context.Context, data []byte, requests <-chan received[headroomv1.UploadArtifactRequest],
) (diagnostics.End, error) {
	for {
		u.size += int64(len(data))
		if u.declared != nil && u.size > *u.declared {
			invalid := &invalidError{}
			invalid.add("data", "is more than the %d bytes that were declared", *u.declared)
			return diagnostics.End{Truncated: "more came than was declared"}, invalid
		}
		if err := u.writer.Append(data); err != nil {
			return diagnostics.End{}, storeError("", err)
		}
		select {
		case got := <-requests:
			if errors.Is(got.err, io.EOF) {
				if u.declared != nil && u.size < *u.declared {
					return diagnostics.End{Truncated: "less came than was declared"}, nil
				}
				return diagnostics.End{}, nil
			}
			if got.err != nil {
				return u.brokeOff(), got.err
			}
			if got.message.GetStart() != nil {
				invalid := &invalidError{}
				invalid.add("start", "must be set in the first request only")
				return diagnostics.End{Truncated: "the upload was begun twice"}, invalid
			}
			data = got.message.GetData()
		case <-u.service.ended:
			return diagnostics.End{Truncated: "the server shut down"}, errDraining
		case <-ctx.Done():
			return u.brokeOff(), context.Cause(ctx)
		}
	}
}

// brokeOff returns how an upload ends whose worker died or lost the connection. Which of them, the recording knows that
// it is of, while there is one.
func (u *upload) brokeOff() diagnostics.End {
	return diagnostics.End{
		Truncated: "the upload broke off", Failed: !u.service.runs.goOn(u.header.Owner, u.header.Run),
	}
}

// DownloadArtifact implements the RPC.
func (s *diagnosticsService) DownloadArtifact(
	req *headroomv1.DownloadArtifactRequest, stream grpc.ServerStreamingServer[headroomv1.DownloadArtifactResponse],
) error {
	store, identity, err := s.begin(stream.Context())
	if err != nil {
		return err
	}
	if _, err := visible(store, identity, req.GetArtifactId()); err != nil {
		return err
	}
	exit, err := s.transfers.enter(identity)
	if err != nil {
		return err
	}
	defer exit()
	content, a, err := openContent(store, req.GetArtifactId(), req.GetForm())
	if err != nil {
		return err
	}
	defer content.close()
	if req.GetOffset() > content.size {
		return &rangeError{offset: req.GetOffset(), size: content.size}
	}
	left := content.size - req.GetOffset()
	if req.GetLength() > 0 {
		left = min(left, req.GetLength())
	}
	if err := s.send(stream, &headroomv1.DownloadArtifactResponse{Artifact: wire.Artifact(&a)}); err != nil {
		return err
	}
	for at := req.GetOffset(); left > 0; {
		chunk := make([]byte, min(left, downloadChunk)) // its own: gRPC may keep it for a moment
		if _, err := content.ReadAt(chunk, at); err != nil {
			return fmt.Errorf("read artifact %s: %w", a.ID, err)
		}
		if err := s.send(stream, &headroomv1.DownloadArtifactResponse{Data: chunk}); err != nil {
			return err
		}
		at, left = at+int64(len(chunk)), left-int64(len(chunk))
	}
	return nil
}

// content is what can be read of an artifact.
type content struct {
	io.ReaderAt
	size      int64
	mediaType string
	fileName  string
	close     func()
}

// openContent opens the content in the form, to be closed by the caller.
func openContent(store *diagnostics.Store, id string, form headroomv1.ArtifactForm) (*content, diagnostics.Artifact, error) {
	f, a, err := store.Content(id)
	if err != nil {
		return nil, a, storeError(id, err)
	}
	recorder, _ := diagnostics.Lookup(a.Recorder)
	if form == headroomv1.ArtifactForm_ARTIFACT_FORM_UNSPECIFIED {
		return &content{f, a.Size, recorder.MediaType, a.FileName(), func() { _ = f.Close() }}, a, nil
	}
	defer f.Close()
	c, err := shown(&a, f, form)
	return c, a, err
}
