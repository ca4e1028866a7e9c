package server

import (
	"bytes"
	"reflect"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// FuzzFramesOfWorkers holds that a frame that is parsed, in the memory of what came before, is valid and what its message
// says, and that any other is received as its message.
func FuzzFramesOfWorkers(f *testing.F) {
	validator, err := protovalidate.New()
	if err != nil {
		f.Fatal(err)
	}
	report := &headroomv1.PermitReport{
		Resource: "api", Version: 3, Held: 2, Want: 9, Ceiling: proto.Int64(2), Weight: 1, Priority: -1, Guarantee: 1, Need: 1,
		OldestWait: durationpb.New(1), MeanHold: durationpb.New(1e9),
	}
	frame := &headroomv1.AttachRequest{Sequence: 7, SendNanos: -1, Reports: []*headroomv1.PermitReport{report}}
	before, err := proto.Marshal(frame)
	if err != nil {
		f.Fatal(err)
	}
	eachOddity(frame.ProtoReflect(), "frame", func(string) {
		if raw, err := proto.Marshal(frame); err == nil {
			f.Add(before, raw)
		}
	})
	f.Add([]byte("\x08\x01\x22\x03\x0a\x01\xff"), []byte("\x08\x01\x22\x03\x0a\x01\xff")) // a resource that is not UTF-8
	f.Add(before, bytes.Repeat(before, 65))
	c := newCodec()
	f.Fuzz(func(t *testing.T, before, raw []byte) {
		got := new(workerFrame)
		_ = c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(before)}, got)
		b := bytes.Clone(raw)
		gotErr := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, got)
		clear(b) // gRPC uses its buffers again
		var want headroomv1.AttachRequest
		wantErr := proto.Unmarshal(raw, &want)
		switch {
		case (gotErr == nil) != (wantErr == nil):
			t.Errorf("%x: received with %v, want %v", raw, gotErr, wantErr)
		case gotErr != nil:
		case got.request != nil:
			if !proto.Equal(got.request, &want) {
				t.Errorf("%x: received %v, want %v", raw, got.request, &want)
			}
		default:
			parsed, err := wire.WorkerFrameFrom(&want)
			if err != nil {
				t.Fatalf("%x: parsed, but %v", raw, err)
			}
			if err := validator.Validate(&want); err != nil {
				t.Errorf("%x: parsed, but %v", raw, err)
			}
			if len(parsed.Reports) == 0 {
				parsed.Reports = got.frame.Reports[:0]
			}
			if !reflect.DeepEqual(got.frame, parsed) {
				t.Errorf("%x: parsed as %+v, want %+v", raw, got.frame, parsed)
			}
		}
	})
}
