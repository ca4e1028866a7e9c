package server_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func TestARefusedFieldNamesItsValueAndItsRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		_, sample := f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{
			Resource: 99, Duration: durationpb.New(25 * time.Hour), Signal: strings.Repeat("x", 100),
		})
		_, report := f.client.ReportLoad(t.Context(), &headroomv1.ReportLoadRequest{
			Reporter:     "no\x1bname",
			ClientErrors: []*headroomv1.RetryErrors{{RetryIndex: -1, Count: -2}},
		})
		watch, err := f.client.WatchSnapshots(t.Context(), &headroomv1.WatchSnapshotsRequest{
			Resources: []headroomv1.ResourceKind{1, 98},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, stream := watch.Recv()
		for _, tt := range []struct {
			err  error
			want []string
		}{
			{sample, []string{
				"resource: 99: ", "enum values, 0 to 6", "duration: 25h0m0s: ", "less than or equal to 86400s",
				`signal: "` + strings.Repeat("x", 64) + `": `,
			}},
			{report, []string{`reporter: "no\x1bname": `, "client_errors[0].retry_index: -1: ", "client_errors[0].count: -2: "}},
			{stream, []string{"resources[1]: 98: "}},
		} {
			text := status.Convert(tt.err).Message()
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("refused with\n%s\nwant %q in it", text, want)
				}
			}
		}
	})
}
