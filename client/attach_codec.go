package client

import (
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// frameCodec is the standard proto codec, but that it sends a *permit.WorkerFrame and receives a *permit.ServerFrame,
// those by which permits come and go without the messages between.
type frameCodec struct{ encoding.CodecV2 }

func newFrameCodec() frameCodec { return frameCodec{encoding.GetCodecV2(protocodec.Name)} }

// usualFrame is more than a frame with one report takes.
const usualFrame = 128

// Marshal implements encoding.CodecV2.
func (c frameCodec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*permit.WorkerFrame)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	if b, ok := wire.AppendWorkerFrame(make([]byte, 0, usualFrame), f); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(wire.WorkerFrame(f))
}

// Unmarshal implements encoding.CodecV2.
func (c frameCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*permit.ServerFrame)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if len(data) == 1 && wire.ParseServerFrame(data[0].ReadOnlyData(), f) {
		return nil
	}
	var m headroomv1.AttachResponse
	err := c.CodecV2.Unmarshal(data, &m)
	if err == nil {
		*f, err = wire.ServerFrameFrom(&m)
	}
	return err
}
