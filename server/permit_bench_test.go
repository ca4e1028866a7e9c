package server_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// A permit acquired and released by two unary calls, against two unary calls that do nothing.
func BenchmarkAcquireRelease(b *testing.B) {
	for _, journal := range []bool{false, true} {
		f := start(b, settings{server: func(c *server.Config) {
			c.Permits = server.PermitConfig{
				Resources: []permit.Resource{{Name: "api", Limit: 1000}}, TTL: time.Second, Grace: 100 * time.Millisecond,
			}
			if journal {
				c.Permits.StateDir = filepath.Join(b.TempDir(), "state")
			}
			c.Limits.MaxWaitersPerConnection = 1000
			c.Limits.MaxStreamsPerConnection = 1000
		}})
		client := headroomv1.NewPermitServiceClient(f.conn)
		// It waits until nothing is charged for an earlier life of the server any more.
		all, err := client.AcquirePermit(b.Context(), &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: "all", Count: 1000})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := client.ReleasePermit(b.Context(), &headroomv1.ReleasePermitRequest{PermitId: all.GetPermit().GetPermitId()}); err != nil {
			b.Fatal(err)
		}
		var ids atomic.Int64
		for _, callers := range []int{2, 64} {
			b.Run(fmt.Sprintf("journal=%v/callers=%d", journal, callers), func(b *testing.B) {
				b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						req := &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: fmt.Sprint(ids.Add(1))}
						resp, err := client.AcquirePermit(b.Context(), req)
						if err == nil {
							_, err = client.ReleasePermit(b.Context(),
								&headroomv1.ReleasePermitRequest{PermitId: resp.GetPermit().GetPermitId()})
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
	f := start(b, settings{})
	for _, callers := range []int{2, 64} {
		b.Run(fmt.Sprintf("empty/callers=%d", callers), func(b *testing.B) {
			b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
			client := headroomv1.NewPermitServiceClient(f.conn)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					for range 2 {
						if _, err := client.ReleasePermit(b.Context(), &headroomv1.ReleasePermitRequest{PermitId: "x"}); err != nil {
							b.Error(err)
							return
						}
					}
				}
			})
		})
	}
}
