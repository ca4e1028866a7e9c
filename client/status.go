package client

import (
	"context"
	"time"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Status is how loaded the machine is.
type Status struct {
	// Current is the judgement over the last seconds and Historical over the whole history; 5 s and 30 s
	// by default.
	Current, Historical snapshot.Status

	// InstanceID identifies one run of the server.
	InstanceID string

	// ServerVersion names the server's version, such as "0.1.0".
	ServerVersion string
}

// Status asks for the judgement. It blocks until the server answered or ctx is done, and retries nothing.
func (c *Client) Status(ctx context.Context) (Status, error) {
	p, err := c.service.GetStatus(ctx, &headroomv1.GetStatusRequest{})
	if err != nil {
		return Status{}, c.callError(ctx, "get status", err)
	}
	c.heard(p.GetInstanceId(), p.GetServerVersion())
	return Status{
		Current:       wire.StatusFrom(p.GetCurrent()),
		Historical:    wire.StatusFrom(p.GetHistorical()),
		InstanceID:    p.GetInstanceId(),
		ServerVersion: p.GetServerVersion(),
	}, nil
}

// Sample asks for the snapshots of the named signal that are at most d older than its newest one, grouped
// by signal and oldest first within it. An empty signal is all of them, "pressure" all that measure
// pressure; d is from 0 to 24 h, and 0 is the whole history, as is anything longer. At is by the clock of
// [Client.Now]. It blocks until the server answered or ctx is done, and retries nothing.
func (c *Client) Sample(ctx context.Context, signal string, d time.Duration) ([]snapshot.Snapshot, error) {
	req := sampleRequest(signal)
	if d != 0 {
		req.Duration = durationpb.New(d)
	}
	p, err := c.service.GetSample(ctx, req)
	if err != nil {
		return nil, c.callError(ctx, "get sample", err)
	}
	now := c.Now()
	sample := make([]snapshot.Snapshot, len(p.GetSnapshots()))
	for i, s := range p.GetSnapshots() {
		sample[i] = wire.SnapshotFrom(s, now)
	}
	return sample, nil
}

// sampleRequest names a built-in signal by its kind and any other by its name, as the contract wants.
func sampleRequest(signal string) *headroomv1.GetSampleRequest {
	if signal == "" {
		return &headroomv1.GetSampleRequest{}
	}
	for r := snapshot.CPU; r < snapshot.Custom; r++ {
		if signal == r.String() {
			return &headroomv1.GetSampleRequest{Resource: wire.Resource(r)}
		}
	}
	return &headroomv1.GetSampleRequest{Resource: wire.Resource(snapshot.Custom), Signal: signal}
}

// ReportLoad tells the server what this worker knows of its own load. The reporter names one running
// process, such as "crawler-7": 1 to 64 letters, digits and any of ._:/-, beginning with a letter or a
// digit. The report replaces the reporter's last one and holds for the time that ReportLoad returns,
// counted from before the call; report again sooner. It blocks until the server answered or ctx is done,
// and may be called again with the same report: client errors are cumulative.
func (c *Client) ReportLoad(ctx context.Context, reporter string, r snapshot.Report) (time.Duration, error) {
	p, err := c.service.ReportLoad(ctx, wire.ReportRequest(reporter, r))
	if err != nil {
		return 0, c.callError(ctx, "report load", err)
	}
	return max(p.GetTtl().AsDuration(), 0), nil
}
