package server

import (
	"testing"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

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
