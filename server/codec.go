package server

import (
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
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

// codec is the standard proto codec, but that it passes a *frame through as it is. A server is given it by
// option; it is not registered, so other servers and clients of the process do not see it.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(protocodec.Name)} }

// Marshal returns the wire format of v. The slice is made anew each time because the transport consumes it;
// the bytes behind a frame are shared and are not counted, so freeing them does nothing.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return mem.BufferSlice{f.data}, nil
	}
	return c.CodecV2.Marshal(v)
}
