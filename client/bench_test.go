package client_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// fullState is a state as a server of one host sends it: four signals, two judgements.
func fullState(sequence int64, first bool) *headroomv1.WatchSnapshotsResponse {
	m := state("a", sequence, first)
	m.SendTime = timestamppb.Now()
	m.Current = &headroomv1.Status{State: headroomv1.LoadState_LOAD_STATE_IDLE, Window: durationpb.New(5 * time.Second)}
	m.Historical = &headroomv1.Status{State: headroomv1.LoadState_LOAD_STATE_IDLE, Window: durationpb.New(30 * time.Second)}
	for kind, signal := range []string{"cpu", "memory", "event_loop", "client"} {
		kind := headroomv1.ResourceKind(kind + 1)
		m.Snapshots = append(m.Snapshots, &headroomv1.Snapshot{
			Resource: kind, Signal: signal, SampleTime: m.SendTime, Age: durationpb.New(time.Second),
			Value: proto.Float64(0.4), Limit: proto.Float64(0.9), Source: "gopsutil host",
			Reading: &headroomv1.Snapshot_Cpu{Cpu: &headroomv1.CpuReading{UsedRatio: proto.Float64(0.4), CapacityCores: proto.Float64(8)}},
		})
		for _, s := range []*headroomv1.Status{m.Current, m.Historical} {
			s.Resources = append(s.Resources, &headroomv1.ResourceStatus{
				Resource: kind, Signal: signal, State: headroomv1.LoadState_LOAD_STATE_IDLE, ActualRatio: proto.Float64(0.1),
				LimitRatio: 0.4, Value: proto.Float64(0.4), Limit: proto.Float64(0.9), Age: durationpb.New(time.Second), SnapshotCount: 30,
			})
		}
	}
	return m
}

// BenchmarkSnapshots is the cost of one state from the server's Send to the consumer's loop, on both sides
// together, over an in-memory connection. Each state is sent when the one before was taken.
func BenchmarkSnapshots(b *testing.B) {
	m := newMachine()
	next := make(chan struct{})
	stop := m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
		msg := fullState(0, true)
		for {
			select {
			case <-next:
			case <-st.Context().Done():
				return nil
			}
			msg.Sequence++
			if err := st.Send(msg); err != nil {
				return err
			}
			msg.Started = nil
		}
	}})
	defer stop()
	c, err := client.Dial(b.Context(), client.WithDialer(m.dial))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	go func() { next <- struct{}{} }()
	n := 0
	for s, err := range c.Snapshots(ctx, client.WatchOptions{}) {
		if err != nil || s.Stale {
			b.Fatal(err, s.Cause)
		}
		if n == 0 {
			b.ResetTimer()
		}
		if n == b.N {
			break
		}
		n++
		next <- struct{}{}
	}
}

// BenchmarkReceive is the client's cost of one state that comes unasked, by whether somebody takes them:
// who does not pays for no translation.
func BenchmarkReceive(b *testing.B) {
	for _, taken := range []bool{true, false} {
		name := "taken"
		if !taken {
			name = "skipped"
		}
		b.Run(name, func(b *testing.B) {
			raw, err := proto.Marshal(fullState(1, false))
			if err != nil {
				b.Fatal(err)
			}
			receive := client.Receiver()
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				var m headroomv1.WatchSnapshotsResponse
				if err := proto.Unmarshal(raw, &m); err != nil {
					b.Fatal(err)
				}
				receive(&m, taken)
			}
		})
	}
}

// BenchmarkStatus is one unary call over loopback TCP, both sides together.
func BenchmarkStatus(b *testing.B) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := grpc.NewServer()
	full := fullState(0, false)
	headroomv1.RegisterStatusServiceServer(srv, &script{
		getStatus: func(context.Context) (*headroomv1.GetStatusResponse, error) {
			return &headroomv1.GetStatusResponse{Current: full.Current, Historical: full.Historical}, nil
		},
	})
	go func() { _ = srv.Serve(lis) }()
	defer srv.Stop()
	c, err := client.Dial(b.Context(), client.WithAddress(lis.Addr().String()))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Status(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
