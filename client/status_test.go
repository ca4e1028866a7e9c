package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{getStatus: func(context.Context) (*headroomv1.GetStatusResponse, error) {
			return &headroomv1.GetStatusResponse{
				Current:    &headroomv1.Status{State: headroomv1.LoadState_LOAD_STATE_OVERLOADED, Window: durationpb.New(5 * time.Second)},
				Historical: &headroomv1.Status{State: headroomv1.LoadState_LOAD_STATE_IDLE, Window: durationpb.New(30 * time.Second)},
				InstanceId: "a", ServerVersion: "0.1.0",
			}, nil
		}})()
		got, err := m.client(t).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Current.State != snapshot.StateOverloaded || got.Current.Window != 5*time.Second ||
			got.Historical.State != snapshot.StateIdle || got.Historical.Window != 30*time.Second ||
			got.InstanceID != "a" || got.ServerVersion != "0.1.0" {
			t.Errorf("Status = %+v", got)
		}
	})
}

func TestSample(t *testing.T) {
	for _, test := range []struct {
		signal string
		d      time.Duration
		want   *headroomv1.GetSampleRequest
	}{
		{"", 0, &headroomv1.GetSampleRequest{}},
		{"cpu", 5 * time.Second, &headroomv1.GetSampleRequest{
			Resource: headroomv1.ResourceKind_RESOURCE_KIND_CPU, Duration: durationpb.New(5 * time.Second)}},
		{"event_loop", 0, &headroomv1.GetSampleRequest{Resource: headroomv1.ResourceKind_RESOURCE_KIND_EVENT_LOOP}},
		{"pressure", 0, &headroomv1.GetSampleRequest{Resource: headroomv1.ResourceKind_RESOURCE_KIND_PRESSURE}},
		{"queue.depth", -1, &headroomv1.GetSampleRequest{
			Resource: headroomv1.ResourceKind_RESOURCE_KIND_CUSTOM, Signal: "queue.depth", Duration: durationpb.New(-1)}},
		{"custom", 0, &headroomv1.GetSampleRequest{Resource: headroomv1.ResourceKind_RESOURCE_KIND_CUSTOM, Signal: "custom"}},
	} {
		t.Run(test.signal, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				defer m.serve(&script{getSample: func(req *headroomv1.GetSampleRequest) (*headroomv1.GetSampleResponse, error) {
					if !proto.Equal(req, test.want) {
						t.Errorf("request = %v, want %v", req, test.want)
					}
					return &headroomv1.GetSampleResponse{Snapshots: []*headroomv1.Snapshot{
						{Signal: "cpu", Age: durationpb.New(2 * time.Second)},
						{Signal: "cpu", Age: durationpb.New(time.Second)},
					}}, nil
				}})()
				c := m.client(t)
				time.Sleep(10 * time.Second)
				got, err := c.Sample(t.Context(), test.signal, test.d)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) != 2 || got[0].At != 8*time.Second || got[1].At != 9*time.Second {
					t.Errorf("Sample = %+v, want two, at 8s and 9s", got)
				}
			})
		})
	}
}

func TestReportLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		var req *headroomv1.ReportLoadRequest
		defer m.serve(&script{report: func(r *headroomv1.ReportLoadRequest) (*headroomv1.ReportLoadResponse, error) {
			req = r
			return &headroomv1.ReportLoadResponse{Ttl: durationpb.New(7 * time.Second)}, nil
		}})()
		ttl, err := m.client(t).ReportLoad(t.Context(), "crawler-7", snapshot.Report{
			HasEventLoop: true, EventLoopDelay: 80 * time.Millisecond, TTL: 10 * time.Second})
		if err != nil || ttl != 7*time.Second {
			t.Errorf("ReportLoad = %v, %v, want 7s", ttl, err)
		}
		want := &headroomv1.ReportLoadRequest{
			Reporter: "crawler-7", EventLoopDelay: durationpb.New(80 * time.Millisecond), Ttl: durationpb.New(10 * time.Second)}
		if !proto.Equal(req, want) {
			t.Errorf("request = %v, want %v", req, want)
		}
	})
}

func TestErrors(t *testing.T) {
	withInfo := func(domain string) error {
		s, err := status.New(codes.NotFound, "no signal queue").WithDetails(
			&errdetails.BadRequest{}, &errdetails.ErrorInfo{Domain: domain, Reason: "NO_SIGNAL"})
		if err != nil {
			t.Fatal(err)
		}
		return s.Err()
	}
	for _, test := range []struct {
		name   string
		err    error
		reason string
	}{
		{"reason", withInfo("headroom.v1"), "NO_SIGNAL"},
		{"another domain", withInfo("example.org"), ""},
		{"no details", status.Error(codes.NotFound, "no signal queue"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				defer m.serve(&script{getSample: func(*headroomv1.GetSampleRequest) (*headroomv1.GetSampleResponse, error) {
					return nil, test.err
				}})()
				_, err := m.client(t).Sample(t.Context(), "queue", 0)
				if got, want := err.Error(), "client: get sample: rpc error: code = NotFound desc = no signal queue"; got != want {
					t.Errorf("error = %q, want %q", got, want)
				}
				if status.Code(err) != codes.NotFound {
					t.Errorf("code = %v, want NotFound", status.Code(err))
				}
				if got := client.Reason(err); got != test.reason {
					t.Errorf("Reason = %q, want %q", got, test.reason)
				}
			})
		})
	}
	if got := client.Reason(errors.New("x")) + client.Reason(nil); got != "" {
		t.Errorf("Reason of an error without a status = %q, want none", got)
	}
}

func TestCallsEndWithTheirContextAndTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{report: func(*headroomv1.ReportLoadRequest) (*headroomv1.ReportLoadResponse, error) {
			time.Sleep(time.Minute)
			return &headroomv1.ReportLoadResponse{}, nil
		}})()
		c := m.client(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.ReportLoad(ctx, "r", snapshot.Report{})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(m.start) != time.Second {
			t.Errorf("after %v: %v, want the deadline after 1s", time.Since(m.start), err)
		}
		go func() {
			time.Sleep(time.Second)
			c.Close()
		}()
		_, err = c.ReportLoad(t.Context(), "r", snapshot.Report{})
		if !errors.Is(err, client.ErrClosed) || time.Since(m.start) != 2*time.Second {
			t.Errorf("after %v: %v, want ErrClosed after 2s", time.Since(m.start), err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("second Close = %v, want nil", err)
		}
		if _, err := c.Status(t.Context()); !errors.Is(err, client.ErrClosed) || !strings.Contains(err.Error(), "get status") {
			t.Errorf("Status of a closed client = %v, want ErrClosed", err)
		}
	})
}

// lateContext has reached its deadline but does not know yet.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now(), true }

func TestDeadlineThatTheServerSawFirst(t *testing.T) {
	answer := status.Error(codes.DeadlineExceeded, "context deadline exceeded")
	if err := client.CallError(lateContext{t.Context()}, answer); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want context.DeadlineExceeded within", err)
	}
	if err := client.CallError(t.Context(), answer); errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, but the deadline is the server's own", err)
	}
}
