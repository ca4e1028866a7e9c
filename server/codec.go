package server

import (
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// frame is a message that is encoded already, so that one encoding serves every subscriber of a feed. Its
// bytes never change.
type frame struct {
	sequence int64
	data     mem.Buffer
}

func newFrame(sequence int64, encoded []byte) *frame {
	return &frame{sequence: sequence, data: mem.SliceBuffer(encoded)}
}

// workerFrame is a frame of a worker as it is received: as the message that it is, or parsed where it is one of those by
// which permits come and go.
type workerFrame struct {
	request *headroomv1.AttachRequest // not validated; nil where frame is what came
	frame   permit.WorkerFrame        // valid; its memory is used again for the next one
}

// parse reports whether b is a frame that it knows.
func (f *workerFrame) parse(b []byte) bool {
	if !wire.ParseWorkerFrame(b, &f.frame) {
		return false
	}
	for i := range f.frame.Reports {
		if !validResource(f.frame.Reports[i].Resource) {
			return false
		}
	}
	return true
}

// mostKept is how many reports a stream has memory for while it waits for the next frame, which may be long.
const mostKept = 4

// release lets go of what came, but for memory for the next frame.
func (f *workerFrame) release() {
	f.request = nil
	if cap(f.frame.Reports) > mostKept {
		f.frame.Reports = nil
	}
}

// usualFrame is more than a frame with one target takes.
const usualFrame = 192

// codec is the standard proto codec, but that it passes a *frame through as it is, sends a *permit.ServerFrame and receives
// a *workerFrame. A server is given it by option; it is not registered, so other servers and clients of the process do not
// see it.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(protocodec.Name)} }

// Marshal returns the wire format of v. The slice is made anew each time because the transport consumes it;
// the bytes behind a frame are shared and are not counted, so freeing them does nothing.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch f := v.(type) {
	case *frame:
		return mem.BufferSlice{f.data}, nil
	case *permit.ServerFrame:
		if b, ok := wire.AppendServerFrame(make([]byte, 0, usualFrame), f); ok {
			return mem.BufferSlice{mem.SliceBuffer(b)}, nil
		}
		v = wire.ServerFrame(f)
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal reads the wire format of v.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*workerFrame)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if f.request = nil; len(data) == 1 && f.parse(data[0].ReadOnlyData()) {
		return nil
	}
	f.request = new(headroomv1.AttachRequest)
	return c.CodecV2.Unmarshal(data, f.request)
}
