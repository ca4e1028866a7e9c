package server

import (
	"errors"
	"fmt"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func TestCodecPassesFramesThrough(t *testing.T) {
	encoded, err := proto.Marshal(&headroomv1.WatchSnapshotsResponse{Sequence: 7})
	if err != nil {
		t.Fatal(err)
	}
	f, c := newFrame(7, encoded), newCodec()
	for range 2 { // freeing the first must not harm the second
		data, err := c.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if &data[0].(mem.SliceBuffer)[0] != &encoded[0] {
			t.Error("a frame was copied")
		}
		var got headroomv1.WatchSnapshotsResponse
		if err := c.Unmarshal(data, &got); err != nil || got.GetSequence() != 7 {
			t.Errorf("the frame reads as %v, %v, want sequence 7", &got, err)
		}
		data.Free()
	}
}

func TestCodecIsProtoForTheRest(t *testing.T) {
	c := newCodec()
	for _, want := range []*headroomv1.GetSampleResponse{
		{},
		{InstanceId: "a", Snapshots: []*headroomv1.Snapshot{{Signal: "cpu", Value: proto.Float64(0.5)}}},
		{Snapshots: make([]*headroomv1.Snapshot, 5000), InstanceId: "large enough for a pooled buffer"},
	} {
		for i := range want.Snapshots {
			if want.Snapshots[i] == nil {
				want.Snapshots[i] = &headroomv1.Snapshot{Signal: "memory"}
			}
		}
		data, err := c.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got headroomv1.GetSampleResponse
		if err := c.Unmarshal(data, &got); err != nil || !proto.Equal(&got, want) {
			t.Errorf("%v came back as %v, %v", want, &got, err)
		}
		data.Free()
	}
	if _, err := c.Marshal("not a message"); err == nil {
		t.Error("a string was encoded")
	}
	if c.Name() != "proto" {
		t.Errorf("name %q, want proto: clients ask for it", c.Name())
	}
	if _, ours := encoding.GetCodecV2("proto").(codec); ours {
		t.Error("the codec is registered for the whole process")
	}
}

// A frame of a worker that is parsed is valid, and what the message says; the rest is received as the message.
func TestCodecReceivesFramesOfWorkers(t *testing.T) {
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	c, got := newCodec(), new(workerFrame)
	receive := func(m proto.Message, split bool) {
		t.Helper()
		raw, err := proto.Marshal(m)
		if err != nil {
			return // text that is not UTF-8
		}
		data := mem.BufferSlice{mem.SliceBuffer(raw)}
		if split {
			data = mem.BufferSlice{mem.SliceBuffer(raw[:len(raw)/2]), mem.SliceBuffer(raw[len(raw)/2:])}
		}
		if err := c.Unmarshal(data, got); err != nil {
			t.Errorf("%v: %v", m, err)
		}
	}
	parsed, left := 0, 0
	for _, m := range usual() {
		request, ok := m.(*headroomv1.AttachRequest)
		if !ok {
			continue
		}
		eachOddity(m.ProtoReflect(), "frame", func(path string) {
			receive(request, false)
			if got.request != nil {
				if left++; !proto.Equal(got.request, request) {
					t.Errorf("%s: received %v, want %v", path, got.request, request)
				}
				return
			}
			parsed++
			want, err := wire.WorkerFrameFrom(request)
			if err = errors.Join(err, validator.Validate(request)); err != nil || fmt.Sprint(got.frame) != fmt.Sprint(want) {
				t.Errorf("%s: received %+v, want %+v, %v", path, got.frame, want, err)
			}
		})
	}
	if parsed == 0 || left == 0 {
		t.Errorf("%d frames parsed, %d left, want some of each", parsed, left)
	}
	usual := &headroomv1.AttachRequest{Sequence: 7, Reports: []*headroomv1.PermitReport{{Resource: "a"}}}
	if receive(usual, false); got.request != nil {
		t.Error("the usual frame is not parsed")
	}
	if receive(usual, true); got.request.GetSequence() != 7 {
		t.Errorf("a frame in two buffers is received as %v", got.request)
	}
	if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer("\xff")}, got); err == nil {
		t.Error("what is no message was received")
	}
}

// A stream that waits for the next frame has no memory of a large one, nor of a message.
func TestServedFramesAreReleased(t *testing.T) {
	srv, _, _ := runPermits(t, nil)
	w := &attached{arbiter: srv.permits.running.Load()}
	w.greeted.Store(true) // without a session: its frames are refused
	for _, test := range []struct {
		name    string
		reports int
		message bool // as it states a usage
	}{
		{"one report", 1, false},
		{"many reports", permit.MaxReports, false},
		{"a message", 1, true},
	} {
		m := &headroomv1.AttachRequest{Sequence: 1}
		for range test.reports {
			m.Reports = append(m.Reports, &headroomv1.PermitReport{Resource: "a"})
		}
		if test.message {
			m.Reports[0].Usage = &headroomv1.PermitUsage{Uptime: durationpb.New(1)}
		}
		raw, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		in := new(workerFrame)
		if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(raw)}, in); err != nil {
			t.Fatal(err)
		}
		if (in.request != nil) != test.message {
			t.Errorf("%s: received as a message: %v, want %v", test.name, in.request != nil, test.message)
		}
		if err := srv.permits.serve(w, in); !errors.Is(err, errReplaced) {
			t.Errorf("%s: served with %v, want errReplaced", test.name, err)
		}
		if got := cap(in.frame.Reports); in.request != nil || got > mostKept {
			t.Errorf("%s: memory of %d reports and the message %v are kept, want %d at most and none", test.name, got, in.request, mostKept)
		}
	}
}

func TestCodecSendsFramesOfTheServer(t *testing.T) {
	c := newCodec()
	for _, f := range []permit.ServerFrame{
		{Sequence: 3, Epoch: 2, Echo: 1, Targets: []permit.Target{{Resource: "a", Version: 1, Mode: permit.ModeDrain, Binding: "b"}}},
		{Sequence: 3, Epoch: 2, Echo: 1, Welcome: &permit.Welcome{TTL: 5, Heartbeat: 1}, Kicked: "why"},
	} {
		data, err := c.Marshal(&f)
		if err != nil {
			t.Fatal(err)
		}
		var got headroomv1.AttachResponse
		if err := c.Unmarshal(data, &got); err != nil || !proto.Equal(&got, wire.ServerFrame(&f)) {
			t.Errorf("%+v came back as %v, %v", f, &got, err)
		}
	}
}
