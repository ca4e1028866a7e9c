package server

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/headroom-rpc/headroom/snapshot"
)

// BenchmarkEncodeState is what one state costs a class of subscribers, however many they are.
func BenchmarkEncodeState(b *testing.B) {
	for _, signals := range []int{4, 20, 100} {
		b.Run(fmt.Sprintf("signals=%d", signals), func(b *testing.B) {
			var st state
			st.Time = time.Now()
			for i := range signals {
				name := fmt.Sprintf("signal-%d", i)
				st.Newest = append(st.Newest, snapshot.Snapshot{
					Signal: name, Resource: snapshot.CPU, Time: st.Time, Value: 0.5, Limit: 0.95, Source: "gopsutil host",
				})
				status := snapshot.SignalStatus{
					Signal: name, Resource: snapshot.CPU, State: snapshot.StateIdle, Limit: 0.4, Value: 0.5, Bound: 0.95, HasValue: true, Count: 6,
				}
				st.Current.Signals = append(st.Current.Signals, status)
				st.Historical.Signals = append(st.Historical.Signals, status)
			}
			s := &statusService{maxSendBytes: 4 << 20}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.encodeState(st, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// sinkStream takes messages for nothing.
type sinkStream struct{ grpc.ServerStream }

func (sinkStream) SendMsg(any) error { return nil }

// BenchmarkWalk is what the hub adds to each Send.
func BenchmarkWalk(b *testing.B) {
	const subscribers = 1000
	h := newHub(time.Second, subscribers)
	subs := make([]*subscriber, subscribers)
	for i := range subs {
		subs[i] = &subscriber{stream: sinkStream{}, ended: make(chan struct{})}
	}
	var sequence int64
	b.ReportAllocs()
	for b.Loop() {
		sequence++
		d := newDelivery(newFrame(sequence, nil), subs)
		(&worker{delivery: d}).run(h)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/subscribers, "ns/send")
}
