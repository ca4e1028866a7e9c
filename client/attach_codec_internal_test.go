package client

import (
	"reflect"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func TestFrameCodecSends(t *testing.T) {
	c := newFrameCodec()
	for _, f := range []permit.WorkerFrame{
		{Sequence: 1, Hello: &permit.Hello{Client: "a"}},
		{Sequence: 2, Sent: 5, Reports: []permit.Report{{Resource: "a", Held: 1, Want: 2}}},
		{Sequence: 3, Reports: []permit.Report{{Resource: "a", Usage: permit.Usage{Uptime: 1}, HasUsage: true}}},
		{Sequence: 4, Goodbye: true},
	} {
		data, err := c.Marshal(&f)
		if err != nil {
			t.Fatal(err)
		}
		var got headroomv1.AttachRequest
		if err := c.Unmarshal(data, &got); err != nil || !proto.Equal(&got, wire.WorkerFrame(&f)) {
			t.Errorf("%+v came back as %v, %v", f, &got, err)
		}
	}
	if c.Name() != "proto" {
		t.Errorf("name %q, want proto: servers know it", c.Name())
	}
}

func TestFrameCodecReceives(t *testing.T) {
	c, got := newFrameCodec(), new(permit.ServerFrame)
	for _, want := range []permit.ServerFrame{
		{Sequence: 1, Welcome: &permit.Welcome{TTL: permit.DefaultTTL, Heartbeat: permit.DefaultHeartbeat}},
		{Sequence: 2, Epoch: 3, Echo: 4, Targets: []permit.Target{{Resource: "a", Version: 1, Target: 1, Mode: permit.ModeNormal}}},
		{Sequence: 3, Draining: true, Drain: 5},
		{Sequence: 4, Targets: []permit.Target{{Resource: "b", Mode: permit.ModeNormal}, {Resource: "a", Mode: permit.ModeCancel}}},
	} {
		data, err := c.Marshal(wire.ServerFrame(&want))
		if err != nil {
			t.Fatal(err)
		}
		raw := data.Materialize()
		for _, data := range []mem.BufferSlice{data, {mem.SliceBuffer(raw[:1]), mem.SliceBuffer(raw[1:])}} {
			if err := c.Unmarshal(data, got); err != nil || !reflect.DeepEqual(*got, want) {
				t.Errorf("in %d parts: received %+v, %v\nwant %+v", len(data), *got, err, want)
			}
		}
	}
	noTimes, err := proto.Marshal(&headroomv1.AttachResponse{Welcome: &headroomv1.Welcome{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{"\xff", string(noTimes)} {
		if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(raw)}, got); err == nil {
			t.Errorf("%q was received as %+v", raw, *got)
		}
	}
}
