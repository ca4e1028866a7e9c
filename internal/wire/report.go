package wire

import (
	"maps"
	"slices"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
)

// ReportRequest returns the request in which the named reporter sends r. An empty map of client errors is
// sent like nil: it says nothing about them.
func ReportRequest(reporter string, r snapshot.Report) *headroomv1.ReportLoadRequest {
	p := &headroomv1.ReportLoadRequest{
		Reporter:       text(reporter),
		EventLoopDelay: durationIf(r.HasEventLoop, r.EventLoopDelay),
		Ttl:            durationIf(r.TTL != 0, r.TTL),
	}
	if r.HasMemory {
		p.Memory = &headroomv1.ProcessMemory{UsedBytes: r.Memory.Used, MaxBytes: r.Memory.Max}
	}
	for _, i := range slices.Sorted(maps.Keys(r.ClientErrors)) {
		p.ClientErrors = append(p.ClientErrors, &headroomv1.RetryErrors{
			RetryIndex: int32Of(i),
			Count:      r.ClientErrors[i],
		})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Signals)) {
		p.Signals = append(p.Signals, &headroomv1.CustomSignal{
			Name:  text(name),
			Value: r.Signals[name].Value,
			Limit: r.Signals[name].Limit,
		})
	}
	return p
}

// Report returns the report of a request. Of entries with the same retry index or name the last one
// counts.
func Report(p *headroomv1.ReportLoadRequest) snapshot.Report {
	r := snapshot.Report{
		EventLoopDelay: p.GetEventLoopDelay().AsDuration(),
		HasEventLoop:   p.GetEventLoopDelay() != nil,
		Memory:         snapshot.ReportedMemory{Used: p.GetMemory().GetUsedBytes(), Max: p.GetMemory().GetMaxBytes()},
		HasMemory:      p.GetMemory() != nil,
		TTL:            p.GetTtl().AsDuration(),
	}
	if n := len(p.GetClientErrors()); n > 0 {
		r.ClientErrors = make(map[int]int64, n)
	}
	for _, e := range p.GetClientErrors() {
		r.ClientErrors[int(e.GetRetryIndex())] = e.GetCount()
	}
	if n := len(p.GetSignals()); n > 0 {
		r.Signals = make(map[string]snapshot.ReportedSignal, n)
	}
	for _, s := range p.GetSignals() {
		r.Signals[s.GetName()] = snapshot.ReportedSignal{Value: s.GetValue(), Limit: s.GetLimit()}
	}
	return r
}
