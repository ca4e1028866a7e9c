package server_test

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
)

const (
	cpu    = headroomv1.ResourceKind_RESOURCE_KIND_CPU
	memory = headroomv1.ResourceKind_RESOURCE_KIND_MEMORY
	loop   = headroomv1.ResourceKind_RESOURCE_KIND_EVENT_LOOP
	client = headroomv1.ResourceKind_RESOURCE_KIND_CLIENT
	custom = headroomv1.ResourceKind_RESOURCE_KIND_CUSTOM
)

func TestGetSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, settings{sampling: func(c *snapshot.Config) {
			c.Signals = []snapshot.Signal{{Name: "queue", Read: func(context.Context) (float64, float64, error) { return 3, 2, nil }}}
		}})
		time.Sleep(40*time.Second + 250*time.Millisecond) // longer than the history of 30 s
		for _, tt := range []struct {
			name   string
			req    *headroomv1.GetSampleRequest
			count  map[headroomv1.ResourceKind]int
			signal string
		}{
			{"none is everything", &headroomv1.GetSampleRequest{}, map[headroomv1.ResourceKind]int{cpu: 31, memory: 31, loop: 61, client: 31, custom: 31}, ""},
			{"zero duration is the history", &headroomv1.GetSampleRequest{Resource: cpu, Duration: durationpb.New(0)}, map[headroomv1.ResourceKind]int{cpu: 31}, ""},
			{"longer than the history is all", &headroomv1.GetSampleRequest{Resource: cpu, Duration: durationpb.New(24 * time.Hour)}, map[headroomv1.ResourceKind]int{cpu: 31}, ""},
			{"5 s of memory", &headroomv1.GetSampleRequest{Resource: memory, Duration: durationpb.New(5 * time.Second)}, map[headroomv1.ResourceKind]int{memory: 6}, ""},
			{"1 ns is the newest", &headroomv1.GetSampleRequest{Resource: loop, Duration: durationpb.New(1)}, map[headroomv1.ResourceKind]int{loop: 1}, ""},
			{"custom by name", &headroomv1.GetSampleRequest{Resource: custom, Signal: "queue", Duration: durationpb.New(2 * time.Second)}, map[headroomv1.ResourceKind]int{custom: 3}, "queue"},
			{"no such resource here", &headroomv1.GetSampleRequest{Resource: headroomv1.ResourceKind_RESOURCE_KIND_PRESSURE}, map[headroomv1.ResourceKind]int{}, ""},
		} {
			resp, err := f.client.GetSample(t.Context(), tt.req)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			got := map[headroomv1.ResourceKind]int{}
			for i, snap := range resp.GetSnapshots() {
				got[snap.GetResource()]++
				if tt.signal != "" && snap.GetSignal() != tt.signal {
					t.Errorf("%s: signal %q, want %q", tt.name, snap.GetSignal(), tt.signal)
				}
				if i > 0 && resp.Snapshots[i-1].GetSignal() == snap.GetSignal() &&
					resp.Snapshots[i-1].GetAge().AsDuration() <= snap.GetAge().AsDuration() {
					t.Errorf("%s: snapshot %d of %s is not newer than the one before", tt.name, i, snap.GetSignal())
				}
			}
			if !maps.Equal(got, tt.count) {
				t.Errorf("%s: got %v snapshots, want %v", tt.name, got, tt.count)
			}
			if resp.GetHistory().AsDuration() != 30*time.Second || resp.GetInstanceId() != f.InstanceID() {
				t.Errorf("%s: history %v of %q, want 30s of %q", tt.name, resp.GetHistory().AsDuration(), resp.GetInstanceId(), f.InstanceID())
			}
		}
		resp, err := f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: cpu, Duration: durationpb.New(1)})
		if err != nil {
			t.Fatal(err)
		}
		snap := resp.GetSnapshots()[0]
		if snap.GetValue() != 0.25 || snap.GetLimit() != 0.95 || snap.GetOverloaded() || snap.GetAge().AsDuration() != 250*time.Millisecond {
			t.Errorf("newest CPU snapshot is %v, want 0.25 of 0.95, 250 ms old", snap)
		}
	})
}

func TestGetSampleUnknownSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		for _, name := range []string{"nothing", "cpu"} {
			_, err := f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: custom, Signal: name})
			checkError(t, err, codes.NotFound, "UNKNOWN_SIGNAL")
			var info *errdetails.ResourceInfo
			for _, detail := range status.Convert(err).Details() {
				info, _ = detail.(*errdetails.ResourceInfo)
			}
			if info.GetResourceType() != "headroom.v1.Signal" || info.GetResourceName() != name {
				t.Errorf("ResourceInfo = %v, want headroom.v1.Signal %q", info, name)
			}
		}
	})
}

// Every fault of a request is told at once, with the field's path, and changes nothing.
func TestBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		sample := func(req *headroomv1.GetSampleRequest) func() error {
			return func() error { _, err := f.client.GetSample(t.Context(), req); return err }
		}
		watch := func(req *headroomv1.WatchSnapshotsRequest) func() error {
			return func() error {
				stream, err := f.client.WatchSnapshots(t.Context(), req)
				if err == nil {
					_, err = stream.Recv()
				}
				return err
			}
		}
		report := func(req *headroomv1.ReportLoadRequest) func() error {
			return func() error { _, err := f.client.ReportLoad(t.Context(), req); return err }
		}
		for _, tt := range []struct {
			name   string
			call   func() error
			fields []string
		}{
			{"unknown resource", sample(&headroomv1.GetSampleRequest{Resource: 77}), []string{"resource"}},
			{"negative duration", sample(&headroomv1.GetSampleRequest{Duration: durationpb.New(-1)}), []string{"duration"}},
			{"25 h", sample(&headroomv1.GetSampleRequest{Duration: durationpb.New(25 * time.Hour)}), []string{"duration"}},
			{"absurd duration", sample(&headroomv1.GetSampleRequest{Duration: &durationpb.Duration{Seconds: math.MaxInt64, Nanos: math.MinInt32}}), []string{"duration"}},
			{"three at once", sample(&headroomv1.GetSampleRequest{
				Resource: 99, Duration: durationpb.New(-time.Second), Signal: strings.Repeat("x", 65),
			}), []string{"", "duration", "resource", "signal"}},
			{"signal without custom", sample(&headroomv1.GetSampleRequest{Resource: cpu, Signal: "queue"}), []string{""}},
			{"stream: unknown, unspecified, twice", watch(&headroomv1.WatchSnapshotsRequest{
				Interval: durationpb.New(2 * time.Hour), Resources: []headroomv1.ResourceKind{0, 50, 1, 1},
			}), []string{"interval", "resources", "resources[0]", "resources[1]"}},
			{"report: everything", report(&headroomv1.ReportLoadRequest{
				Reporter: "-", EventLoopDelay: durationpb.New(-1), Ttl: durationpb.New(time.Hour),
				ClientErrors: []*headroomv1.RetryErrors{{RetryIndex: -1, Count: -1}},
				Signals:      []*headroomv1.CustomSignal{{Name: "cpu", Value: math.NaN(), Limit: math.Inf(1)}},
			}), []string{"client_errors[0].count", "client_errors[0].retry_index", "event_loop_delay", "reporter",
				"signals[0].limit", "signals[0].name", "signals[0].value", "ttl"}},
			{"report: the same twice", report(&headroomv1.ReportLoadRequest{
				Reporter:     "w",
				ClientErrors: []*headroomv1.RetryErrors{{RetryIndex: 1}, {RetryIndex: 2}, {RetryIndex: 1}},
				Signals:      []*headroomv1.CustomSignal{{Name: "q"}, {Name: "q"}},
			}), []string{"client_errors[2].retry_index", "signals[1].name"}},
		} {
			err := tt.call()
			if status.Code(err) != codes.InvalidArgument || reason(err) != "INVALID_FIELDS" {
				t.Errorf("%s: %v with reason %q, want INVALID_ARGUMENT with INVALID_FIELDS", tt.name, err, reason(err))
			}
			var got []string
			for _, detail := range status.Convert(err).Details() {
				bad, ok := detail.(*errdetails.BadRequest)
				if !ok {
					continue
				}
				for _, v := range bad.GetFieldViolations() {
					if v.GetDescription() == "" {
						t.Errorf("%s: field %q has no description", tt.name, v.GetField())
					}
					got = append(got, v.GetField())
				}
			}
			slices.Sort(got)
			if got = slices.Compact(got); !slices.Equal(got, tt.fields) {
				t.Errorf("%s: violations of %q, want %q; the text is %q", tt.name, got, tt.fields, status.Convert(err).Message())
			}
		}
	})
}

func TestGetStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, settings{})
		f.machine.set(0.99)
		time.Sleep(10*time.Second + 250*time.Millisecond)
		resp, err := f.client.GetStatus(t.Context(), &headroomv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		current := resp.GetCurrent()
		if current.GetState() != headroomv1.LoadState_LOAD_STATE_OVERLOADED || current.GetWindow().AsDuration() != 5*time.Second {
			t.Errorf("current status %v over %v, want OVERLOADED over 5s", current.GetState(), current.GetWindow().AsDuration())
		}
		if len(current.GetBinding()) != 1 || current.GetBinding()[0].GetCondition() != "cpu" {
			t.Errorf("binding = %v, want cpu", current.GetBinding())
		}
		if resp.GetHistorical().GetWindow().AsDuration() != 30*time.Second {
			t.Errorf("historical window = %v, want 30s", resp.GetHistorical().GetWindow().AsDuration())
		}
		if resp.GetServerVersion() != "1.2.3" || resp.GetInstanceId() != f.InstanceID() {
			t.Errorf("version %q of %q, want 1.2.3 of %q", resp.GetServerVersion(), resp.GetInstanceId(), f.InstanceID())
		}
	})
}

func TestReportLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		for range 3 {
			resp, err := f.client.ReportLoad(t.Context(), &headroomv1.ReportLoadRequest{
				Reporter: "crawler-7", EventLoopDelay: durationpb.New(2 * time.Second), Ttl: durationpb.New(3 * time.Second),
				Signals: []*headroomv1.CustomSignal{{Name: "queue", Value: 9, Limit: 5}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if resp.GetTtl().AsDuration() != 3*time.Second || !resp.GetExpireTime().AsTime().Equal(time.Now().Add(3*time.Second)) {
				t.Errorf("ttl %v until %v, want 3s from %v", resp.GetTtl().AsDuration(), resp.GetExpireTime().AsTime(), time.Now())
			}
			time.Sleep(2 * time.Second)
		}
		delay := func() *headroomv1.EventLoopReading {
			t.Helper()
			resp, err := f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: loop, Duration: durationpb.New(1)})
			if err != nil {
				t.Fatal(err)
			}
			return resp.GetSnapshots()[0].GetEventLoop()
		}
		if got := delay(); got.GetReportedDelay().AsDuration() != 2*time.Second || got.GetReporterCount() != 1 {
			t.Errorf("event loop = %v, want 2s from 1 reporter", got)
		}
		resp, err := f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: custom, Signal: "queue"})
		if err != nil || len(resp.GetSnapshots()) == 0 || !resp.GetSnapshots()[0].GetOverloaded() {
			t.Errorf("the reported signal = %v, %v, want it overloaded", resp, err)
		}
		time.Sleep(3 * time.Second)
		if got := delay(); got.GetReportedDelay() != nil {
			t.Errorf("event loop after the TTL = %v, want no reporter", got)
		}
	})
}

func TestReportLoadLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports, err := snapshot.NewReports(2, 1)
		if err != nil {
			t.Fatal(err)
		}
		f := serving(t, settings{
			sampling: func(c *snapshot.Config) { c.Reports = reports },
		})
		put := func(reporter, signal string) error {
			req := &headroomv1.ReportLoadRequest{Reporter: reporter}
			if signal != "" {
				req.Signals = []*headroomv1.CustomSignal{{Name: signal, Value: 1, Limit: 2}}
			}
			_, err := f.client.ReportLoad(t.Context(), req)
			return err
		}
		if err := errors.Join(put("a", "queue"), put("b", "")); err != nil {
			t.Fatal(err)
		}
		checkError(t, put("c", ""), codes.ResourceExhausted, "REPORTERS")
		checkError(t, put("b", "other"), codes.ResourceExhausted, "REPORTERS")
	})
}

func TestReportLoadSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{sampling: func(c *snapshot.Config) { c.Reports = nil }})
		_, err := f.client.ReportLoad(t.Context(), &headroomv1.ReportLoadRequest{Reporter: "a"})
		checkError(t, err, codes.Unimplemented, "REPORTS_DISABLED")
	})
}

func TestRoleDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{identity: server.Identity{Name: "someone", Role: server.RoleReader}})
		_, err := f.client.ReportLoad(t.Context(), &headroomv1.ReportLoadRequest{Reporter: "a"})
		checkError(t, err, codes.PermissionDenied, "ROLE_REQUIRED")
		if _, err := f.client.GetStatus(t.Context(), &headroomv1.GetStatusRequest{}); err != nil {
			t.Errorf("GetStatus by a reader = %v", err)
		}
	})
}

func TestResponseTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, settings{server: func(c *server.Config) { c.Limits.MaxSendBytes = 2 << 10 }})
		time.Sleep(time.Minute)
		_, err := f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{})
		checkError(t, err, codes.ResourceExhausted, "RESPONSE_TOO_LARGE")
		// 31 snapshots could fit by their number, but not by what they hold.
		_, err = f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: memory})
		checkError(t, err, codes.ResourceExhausted, "RESPONSE_TOO_LARGE")
		if !strings.Contains(status.Convert(err).Message(), "shorter duration") {
			t.Errorf("error %q does not say what to do", err)
		}
		if _, err := f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: cpu, Duration: durationpb.New(time.Second)}); err != nil {
			t.Errorf("a small sample = %v", err)
		}
	})
}

func TestRequestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		_, err := f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{Resource: custom, Signal: strings.Repeat("x", 300<<10)})
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a request of 300 KiB = %v, want RESOURCE_EXHAUSTED", err)
		}
		if _, err := f.client.GetStatus(t.Context(), &headroomv1.GetStatusRequest{}); err != nil {
			t.Errorf("GetStatus after it = %v", err)
		}
	})
}
