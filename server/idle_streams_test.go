package server_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// Ten thousand idle streams cost bounded memory, all get a change within one interval, and all end with the
// server.
func TestTenThousandIdleStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 10,080 streams")
	}
	connections := int64(160)
	if server.RaceEnabled {
		connections = 16
	}
	const each = 63            // within the 64 streams of a connection
	const perStream = 96 << 10 // bytes, of server and client together; internal/bench measures the server alone
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		before := memoryInUse()
		var received, ended atomic.Int64
		var readers sync.WaitGroup
		for range connections {
			conn := f.dial(t)
			defer conn.Close()
			client := headroomv1.NewStatusServiceClient(conn)
			for range each {
				stream, err := client.WatchSnapshots(context.Background(), &headroomv1.WatchSnapshotsRequest{})
				if err != nil {
					t.Fatal(err)
				}
				readers.Go(func() {
					for {
						if _, err := stream.Recv(); err != nil {
							if eofIsOK(err) == nil {
								ended.Add(1)
							}
							return
						}
						received.Add(1)
					}
				})
			}
		}
		synctest.Wait()
		if got := received.Load(); got != connections*each {
			t.Fatalf("%d first messages, want %d", got, connections*each)
		}
		got := memoryInUse() - before
		if got > connections*each*perStream {
			t.Errorf("%d bytes a stream, want at most %d", got/(connections*each), perStream)
		}
		time.Sleep(1600 * time.Millisecond) // the first tick after it
		synctest.Wait()
		// On a busy machine there is one more: the event loop's is the one signal that sees the real machine here.
		if got := received.Load(); got < 2*connections*each {
			t.Errorf("%d messages after an interval, want at least %d", got, 2*connections*each)
		}
		if err := f.shutdown(); err != nil {
			t.Errorf("Run = %v", err)
		}
		readers.Wait()
		if got := ended.Load(); got != connections*each {
			t.Errorf("%d streams ended with OK, want %d", got, connections*each)
		}
	})
}

// memoryInUse returns the bytes of heap and stacks after a collection.
func memoryInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
