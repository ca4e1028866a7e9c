package server_test

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
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

// A Duration or Timestamp that is none by its own contract is refused, though its sum is within the range of the field.
func TestADurationIsWellFormed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a")
		client := l.as(t, "a")
		got := mustAcquire(t, client, "one", 1)
		_, renewed := client.RenewPermit(t.Context(), &headroomv1.RenewPermitRequest{
			PermitId: got.GetPermitId(), Ttl: &durationpb.Duration{Seconds: 5, Nanos: -5},
		})
		_, acquired := client.AcquirePermit(t.Context(), &headroomv1.AcquirePermitRequest{
			Resource: "api", RequestId: "two", Ttl: &durationpb.Duration{Seconds: 4, Nanos: 1_500_000_000},
		})
		w := attach(t, client, "1")
		w.report(&headroomv1.PermitReport{
			Resource: "api", Want: 1, OldestWait: &durationpb.Duration{Seconds: math.MaxInt64, Nanos: -5},
		})
		for _, tt := range []struct {
			err  error
			want []string
		}{
			{renewed, []string{"ttl: {seconds: 5, nanos: -5}: must have seconds from"}},
			{acquired, []string{"ttl: {seconds: 4, nanos: 1500000000}: must have"}},
			{w.ended(), []string{"reports[0].oldest_wait: {seconds: 9223372036854775807, nanos: -5}: must have"}},
		} {
			checkError(t, tt.err, codes.InvalidArgument, "INVALID_FIELDS")
			for _, want := range tt.want {
				if text := status.Convert(tt.err).Message(); !strings.Contains(text, want) {
					t.Errorf("refused with\n%s\nwant %q in it", text, want)
				}
			}
		}
	})
}
