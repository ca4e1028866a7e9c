package wire

import (
	"math"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func permitUsage(u *permit.Usage) *headroomv1.PermitUsage {
	p := &headroomv1.PermitUsage{
		Uptime:           durationpb.New(max(u.Uptime, 0)),
		CpuTime:          durationIf(u.CPU >= 0, u.CPU),
		RunnableTime:     durationIf(u.Runnable >= 0, u.Runnable),
		PermitTime:       durationIf(u.Permits >= 0, u.Permits),
		MemoryBytes:      int64If(u.Memory >= 0, u.Memory),
		ExpectedDuration: durationIf(u.Duration >= 0, u.Duration),
		Starts:           int64If(u.Starts >= 0, u.Starts),
		Completions:      int64If(u.Completions >= 0, u.Completions),
		Failures:         int64If(u.Failures >= 0, u.Failures),
		Calls:            int64If(u.Calls >= 0, u.Calls),
		Throttled:        int64If(u.Throttled >= 0, u.Throttled),
		Delayed:          int64If(u.Delayed >= 0, u.Delayed),
	}
	if known(u.Grown) {
		p.Grown = &u.Grown
	}
	return p
}

func permitUsageFrom(p *headroomv1.PermitUsage) permit.Usage {
	u := permit.Usage{
		Uptime:      max(p.GetUptime().AsDuration(), 0),
		CPU:         unknownDuration(p.GetCpuTime()),
		Runnable:    unknownDuration(p.GetRunnableTime()),
		Permits:     unknownDuration(p.GetPermitTime()),
		Memory:      unknownCount(p.MemoryBytes),
		Grown:       -1,
		Duration:    unknownDuration(p.GetExpectedDuration()),
		Starts:      unknownCount(p.Starts),
		Completions: unknownCount(p.Completions),
		Failures:    unknownCount(p.Failures),
		Calls:       unknownCount(p.Calls),
		Throttled:   unknownCount(p.Throttled),
		Delayed:     unknownCount(p.Delayed),
	}
	if known(p.GetGrown()) && p.Grown != nil {
		u.Grown = p.GetGrown()
	}
	return u
}

// known reports whether f is a number of something.
func known(f float64) bool { return f >= 0 && !math.IsInf(f, 1) }
