package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/headroom-rpc/headroom/diagnostics"
	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// errDigest reports content that is not what the server says it is.
var errDigest = errors.New("what came is not what the server has: the digests differ")

// artifacts returns the service, which is a name for the connection.
func (c *Client) artifacts() headroomv1.DiagnosticsServiceClient {
	return headroomv1.NewDiagnosticsServiceClient(c.conn)
}

// An ArtifactQuery says which artifacts are meant; a zero field means any.
type ArtifactQuery struct {
	// Task, Run and Name are those of [diagnostics.Header].
	Task, Run, Name string

	// Expiring asks for those only that will be deleted within ExpiringWithin, in the order in which they go, and
	// for those too that would be deleted to make room for ForBytes: at most 1,000.
	Expiring       bool
	ExpiringWithin time.Duration
	ForBytes       int64
}

// Artifacts is what [Client.Artifacts] returns.
type Artifacts struct {
	// List are those that were asked for, and that the caller may see.
	List []diagnostics.Artifact

	// UsedBytes is what all artifacts of the server take of MaxBytes.
	UsedBytes, MaxBytes int64

	// Recorders are what there is to record with, and Allowed and Always name those that a task may ask for and
	// those that record every task.
	Recorders       []diagnostics.Recorder
	Allowed, Always []string
}

// Artifacts lists artifacts. It blocks until the server answered, once for each thousand, or ctx is done, and retries
// nothing.
func (c *Client) Artifacts(ctx context.Context, q ArtifactQuery) (Artifacts, error) {
	req := &headroomv1.ListArtifactsRequest{TaskId: q.Task, RunId: q.Run, Name: q.Name}
	if q.Expiring {
		req.ExpiringWithin, req.ForBytes = durationpb.New(q.ExpiringWithin), q.ForBytes
	}
	var all Artifacts
	for {
		p, err := c.artifacts().ListArtifacts(ctx, req)
		if err != nil {
			return Artifacts{}, c.callError(ctx, "list artifacts", err)
		}
		all.List = append(all.List, wire.ArtifactsFrom(p.GetArtifacts())...)
		if req.PageToken = p.GetNextPageToken(); req.PageToken != "" && len(p.GetArtifacts()) > 0 {
			continue
		}
		all.UsedBytes, all.MaxBytes = p.GetUsedBytes(), p.GetMaxBytes()
		for _, r := range p.GetRecorders() {
			known, ok := diagnostics.Lookup(r.GetName())
			if !ok {
				continue // of a newer server
			}
			all.Recorders = append(all.Recorders, known)
			if r.GetAllowed() {
				all.Allowed = append(all.Allowed, known.Name)
			}
			if r.GetAlways() {
				all.Always = append(all.Always, known.Name)
			}
		}
		return all, nil
	}
}

// PinArtifact keeps a sealed artifact until it is unpinned or deleted, or unpins it. It blocks until the server
// answered or ctx is done, and retries nothing.
func (c *Client) PinArtifact(ctx context.Context, id string, pinned bool) (diagnostics.Artifact, error) {
	p, err := c.artifacts().PinArtifact(ctx, &headroomv1.PinArtifactRequest{ArtifactId: id, Unpin: !pinned})
	if err != nil {
		return diagnostics.Artifact{}, c.callError(ctx, "pin artifact", err)
	}
	return wire.ArtifactFrom(p.GetArtifact()), nil
}

// DeleteArtifact deletes a sealed artifact. It blocks until the server answered or ctx is done, and retries nothing.
func (c *Client) DeleteArtifact(ctx context.Context, id string) error {
	if _, err := c.artifacts().DeleteArtifact(ctx, &headroomv1.DeleteArtifactRequest{ArtifactId: id}); err != nil {
		return c.callError(ctx, "delete artifact", err)
	}
	return nil
}

// A Form is how [Client.Download] gets a memory log.
type Form int32

// The forms. FormStored is that of every artifact.
const (
	FormStored Form = iota
	FormJSON
	FormSVG
)

// Download writes the content of a sealed artifact to w, in the form, from the offset on, and returns what the
// artifact is. Of the whole content as it is stored it checks the digest; an error of that comes after all was
// written. It blocks until all came or ctx is done, and retries nothing.
func (c *Client) Download(ctx context.Context, id string, form Form, offset int64, w io.Writer) (diagnostics.Artifact, error) {
	const op = "download artifact"
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of what is left of the stream, if w fails
	stream, err := c.artifacts().DownloadArtifact(ctx, &headroomv1.DownloadArtifactRequest{
		ArtifactId: id, Offset: offset, Form: headroomv1.ArtifactForm(form),
	})
	if err != nil {
		return diagnostics.Artifact{}, c.callError(ctx, op, err)
	}
	var a diagnostics.Artifact
	sum := sha256.New()
	for {
		p, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return a, c.callError(ctx, op, err)
		}
		if p.GetArtifact() != nil {
			a = wire.ArtifactFrom(p.GetArtifact())
		}
		sum.Write(p.GetData())
		if _, err := w.Write(p.GetData()); err != nil {
			return a, err
		}
	}
	if form == FormStored && offset == 0 && diagnostics.Digest(sum.Sum(nil)) != a.SHA256 {
		return a, fmt.Errorf("client: %s: %w", op, errDigest)
	}
	return a, nil
}

// UploadConfig says what is uploaded.
type UploadConfig struct {
	// Task names the task. Required.
	Task string

	// Run identifies the recording; see [Recording.Run]. Of two whole artifacts of one run and name the later
	// replaces the earlier.
	Run string

	// Recorder names what made it; see [diagnostics.Recorders]. Empty means [diagnostics.RecorderFile].
	Recorder string

	// Name is what it is called, for RecorderFile.
	Name string

	// Begin is when what it tells of began; zero means now.
	Begin time.Time

	// Failed keeps it for the time of failed tasks.
	Failed bool

	// Continues says that it goes on from an upload of this Run that broke off, which is kept beside it: it is the next
	// part.
	Continues bool
}

// uploadChunk is the content of one message.
const uploadChunk = 64 << 10

// An Upload is an artifact that is being uploaded, as it is made: what was written is the server's to keep, whatever
// becomes of this program. It is for one goroutine at a time.
type Upload struct {
	c      *Client
	ctx    context.Context
	cancel context.CancelFunc
	stream grpc.ClientStreamingClient[headroomv1.UploadArtifactRequest, headroomv1.UploadArtifactResponse]
	err    error // of the stream; nothing more is sent

	done   chan struct{} // closed once the server answered, or the stream broke
	answer *headroomv1.UploadArtifactResponse
	broken error // instead of an answer
}

// Upload begins an upload, which lives until [Upload.Seal] or until ctx is done. It does not wait for the server.
func (c *Client) Upload(ctx context.Context, u UploadConfig) (*Upload, error) {
	start := &headroomv1.UploadStart{
		TaskId: u.Task, RunId: u.Run, Recorder: u.Recorder, Name: u.Name, Failed: u.Failed,
		Continues: u.Continues,
	}
	if start.Recorder == "" {
		start.Recorder = diagnostics.RecorderFile
	}
	if !u.Begin.IsZero() {
		start.BeginTime = timestamppb.New(u.Begin)
	}
	ctx, cancel := context.WithCancel(ctx)
	up := &Upload{c: c, ctx: ctx, cancel: cancel}
	stream, err := c.artifacts().UploadArtifact(ctx)
	if err == nil {
		up.stream = stream
		err = stream.Send(&headroomv1.UploadArtifactRequest{Start: start})
	}
	if err != nil && !errors.Is(err, io.EOF) { // that one only says that the stream has ended: Seal tells why
		cancel()
		return nil, c.callError(ctx, "upload artifact", err)
	}
	up.done, up.answer = make(chan struct{}), new(headroomv1.UploadArtifactResponse)
	go func() {
		defer close(up.done)
		up.broken = stream.RecvMsg(up.answer)
	}()
	return up, nil
}

// Done returns a channel that is closed once the server takes no more: it has sealed or refused the artifact, or the
// connection is lost. Seal tells which.
func (u *Upload) Done() <-chan struct{} { return u.done }

// Write sends p. It blocks while the server is behind. After an error nothing more is sent; Seal tells why.
func (u *Upload) Write(p []byte) (n int, err error) {
	for len(p) > 0 && u.err == nil {
		part := p[:min(len(p), uploadChunk)]
		if u.err = u.stream.Send(&headroomv1.UploadArtifactRequest{Data: part}); u.err == nil {
			n, p = n+len(part), p[len(part):]
		}
	}
	if u.err != nil {
		return n, fmt.Errorf("client: upload artifact: %w", u.err)
	}
	return n, nil
}

// Seal ends the upload. It blocks until the server has sealed the artifact, which it returns, or refuses it.
func (u *Upload) Seal() (diagnostics.Artifact, error) {
	defer u.cancel()
	_ = u.stream.CloseSend() // an error is that of what is received, which tells why
	<-u.done
	if u.broken != nil {
		return diagnostics.Artifact{}, u.c.callError(u.ctx, "upload artifact", u.broken)
	}
	return wire.ArtifactFrom(u.answer.GetArtifact()), nil
}

// Abort breaks the upload off: the server keeps what came, as cut short.
func (u *Upload) Abort() { u.cancel() }
