package wire_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/protobuf/proto"
)

// FuzzFramesFrom holds that whatever can be decoded is a frame or an error, and that a second trip of a frame
// changes nothing.
func FuzzFramesFrom(f *testing.F) {
	r := rand.New(rand.NewPCG(15, 16))
	for range 20 {
		worker, server := randomWorkerFrame(r), randomServerFrame(r)
		for _, p := range []proto.Message{wire.WorkerFrame(&worker), wire.ServerFrame(&server)} {
			raw, err := proto.Marshal(p)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var request headroomv1.AttachRequest
		if proto.Unmarshal(raw, &request) == nil {
			if first, err := wire.WorkerFrameFrom(&request); err == nil {
				second, err := wire.WorkerFrameFrom(overTheWire(t, wire.WorkerFrame(&first)))
				if err != nil || !reflect.DeepEqual(second, first) {
					t.Fatalf("second trip: %+v, %v\nfirst trip:  %+v", second, err, first)
				}
			}
		}
		var response headroomv1.AttachResponse
		if proto.Unmarshal(raw, &response) == nil {
			if first, err := wire.ServerFrameFrom(&response); err == nil {
				second, err := wire.ServerFrameFrom(overTheWire(t, wire.ServerFrame(&first)))
				if err != nil || !reflect.DeepEqual(second, first) {
					t.Fatalf("second trip: %+v, %v\nfirst trip:  %+v", second, err, first)
				}
			}
		}
	})
}
