package wire

import (
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// setReading sets the raw numbers of the resource of s.
func setReading(p *headroomv1.Snapshot, s *snapshot.Snapshot) {
	switch s.Resource {
	case snapshot.CPU:
		if s.CPU != (snapshot.CPUReading{}) {
			p.Reading = &headroomv1.Snapshot_Cpu{Cpu: cpu(&s.CPU)}
		}
	case snapshot.Memory:
		if s.Memory != (snapshot.MemoryReading{}) {
			p.Reading = &headroomv1.Snapshot_Memory{Memory: memory(&s.Memory)}
		}
	case snapshot.EventLoop:
		if s.EventLoop != (snapshot.EventLoopReading{}) {
			p.Reading = &headroomv1.Snapshot_EventLoop{EventLoop: eventLoop(&s.EventLoop)}
		}
	case snapshot.Client:
		if s.Client != (snapshot.ClientReading{}) {
			p.Reading = &headroomv1.Snapshot_Client{Client: client(&s.Client)}
		}
	case snapshot.Pressure:
		p.Reading = &headroomv1.Snapshot_Pressure{Pressure: pressure(&s.Pressure)}
	case snapshot.Custom:
		p.Reading = &headroomv1.Snapshot_Custom{Custom: &headroomv1.CustomReading{
			ReporterCount: int32Of(s.Custom.Reporters),
		}}
	}
}

// readingFrom reads the raw numbers of the resource of s; those of another resource are ignored.
func readingFrom(s *snapshot.Snapshot, p *headroomv1.Snapshot) {
	switch s.Resource {
	case snapshot.CPU:
		if r := p.GetCpu(); r != nil {
			s.CPU = cpuFrom(r)
			s.CPU.Source = s.Source
		}
	case snapshot.Memory:
		if r := p.GetMemory(); r != nil {
			s.Memory = memoryFrom(r)
			s.Memory.Source = s.Source
		}
	case snapshot.EventLoop:
		s.EventLoop = eventLoopFrom(p.GetEventLoop())
	case snapshot.Client:
		r := p.GetClient()
		s.Client = snapshot.ClientReading{
			New:        r.GetNewErrors(),
			Total:      r.GetTotalErrors(),
			RetryIndex: int(r.GetRetryIndex()),
			Reporters:  count(r.GetReporterCount()),
		}
	case snapshot.Pressure:
		s.Pressure = pressureFrom(p.GetPressure())
		s.Pressure.Source = s.Source
	case snapshot.Custom:
		s.Custom.Reporters = count(p.GetCustom().GetReporterCount())
	}
}

func cpu(r *snapshot.CPUReading) *headroomv1.CpuReading {
	p := &headroomv1.CpuReading{UsedRatio: proto.Float64(r.Used), LimitSource: text(r.Limit)}
	if r.Cores != 0 {
		p.CapacityCores = proto.Float64(r.Cores)
	}
	if r.HostKnown {
		p.HostUsedRatio, p.HostCores = proto.Float64(r.HostUsed), proto.Float64(r.HostCores)
		p.HottestCoreRatio = proto.Float64(r.Hottest)
		p.IowaitRatio, p.StealRatio = proto.Float64(r.IOWait), proto.Float64(r.Steal)
	}
	if r.ThrottledKnown {
		p.ThrottledRatio = proto.Float64(r.Throttled)
	}
	if r.LoadKnown {
		p.RunnableCount, p.LoadAverage = proto.Int64(r.Runnable), proto.Float64(r.Load)
	}
	return p
}

// cpuFrom takes figures that are known together for unknown where one of them is missing.
func cpuFrom(p *headroomv1.CpuReading) snapshot.CPUReading {
	r := snapshot.CPUReading{Used: p.GetUsedRatio(), Cores: p.GetCapacityCores(), Limit: p.GetLimitSource()}
	if p.HostUsedRatio != nil && p.HostCores != nil && p.HottestCoreRatio != nil && p.IowaitRatio != nil && p.StealRatio != nil {
		r.HostUsed, r.HostCores, r.Hottest = p.GetHostUsedRatio(), p.GetHostCores(), p.GetHottestCoreRatio()
		r.IOWait, r.Steal, r.HostKnown = p.GetIowaitRatio(), p.GetStealRatio(), true
	}
	if p.ThrottledRatio != nil {
		r.Throttled, r.ThrottledKnown = p.GetThrottledRatio(), true
	}
	if p.RunnableCount != nil && p.LoadAverage != nil {
		r.Runnable, r.Load, r.LoadKnown = p.GetRunnableCount(), p.GetLoadAverage(), true
	}
	return r
}

func memory(r *snapshot.MemoryReading) *headroomv1.MemoryReading {
	p := &headroomv1.MemoryReading{
		UsedBytes:   proto.Int64(r.Used),
		Definition:  text(r.Definition),
		LimitSource: text(r.Limit),
	}
	if r.Total != 0 {
		p.TotalBytes = proto.Int64(r.Total)
	}
	if r.Max != 0 {
		p.MaxBytes = proto.Int64(r.Max)
	}
	if r.HostKnown {
		p.HostUsedBytes, p.HostTotalBytes = proto.Int64(r.HostUsed), proto.Int64(r.HostTotal)
	}
	if t := &r.Tightest; t.Limit != "" {
		p.Tightest = &headroomv1.MemoryLevel{UsedBytes: t.Used, LimitBytes: t.Total, LimitSource: text(t.Limit)}
	}
	if r.SwapKnown {
		p.SwapUsedBytes, p.SwapTotalBytes = proto.Int64(r.SwapUsed), proto.Int64(r.SwapTotal)
	}
	return p
}

// memoryFrom takes figures that are known together for unknown where one of them is missing.
func memoryFrom(p *headroomv1.MemoryReading) snapshot.MemoryReading {
	r := snapshot.MemoryReading{
		Used:       p.GetUsedBytes(),
		Total:      p.GetTotalBytes(),
		Max:        p.GetMaxBytes(),
		Definition: p.GetDefinition(),
		Limit:      p.GetLimitSource(),
	}
	if p.HostUsedBytes != nil && p.HostTotalBytes != nil {
		r.HostUsed, r.HostTotal, r.HostKnown = p.GetHostUsedBytes(), p.GetHostTotalBytes(), true
	}
	if t := p.GetTightest(); t.GetLimitSource() != "" {
		r.Tightest = snapshot.MemoryLevel{Used: t.GetUsedBytes(), Total: t.GetLimitBytes(), Limit: t.GetLimitSource()}
	}
	if p.SwapUsedBytes != nil && p.SwapTotalBytes != nil {
		r.SwapUsed, r.SwapTotal, r.SwapKnown = p.GetSwapUsedBytes(), p.GetSwapTotalBytes(), true
	}
	return r
}

func eventLoop(r *snapshot.EventLoopReading) *headroomv1.EventLoopReading {
	return &headroomv1.EventLoopReading{
		Delay:         durationpb.New(r.Delay),
		Judged:        headroomv1.EventLoopSource(r.Judged),
		TimerLag:      durationpb.New(r.TimerLag),
		SchedulerP99:  durationIf(r.SchedulerKnown, r.SchedulerP99),
		ProbeMax:      durationIf(r.ProbeKnown, r.ProbeMax),
		ReportedDelay: durationIf(r.Reporters > 0, r.Reported),
		ReporterCount: int32Of(r.Reporters),
	}
}

func eventLoopFrom(p *headroomv1.EventLoopReading) snapshot.EventLoopReading {
	r := snapshot.EventLoopReading{
		Delay:          p.GetDelay().AsDuration(),
		TimerLag:       p.GetTimerLag().AsDuration(),
		SchedulerP99:   p.GetSchedulerP99().AsDuration(),
		SchedulerKnown: p.GetSchedulerP99() != nil,
		ProbeMax:       p.GetProbeMax().AsDuration(),
		ProbeKnown:     p.GetProbeMax() != nil,
		Reporters:      count(p.GetReporterCount()),
	}
	if r.Reporters > 0 {
		r.Reported = p.GetReportedDelay().AsDuration()
	}
	if j := p.GetJudged(); j > 0 && j <= headroomv1.EventLoopSource_EVENT_LOOP_SOURCE_REPORTED {
		r.Judged = snapshot.LoopSource(j)
	}
	return r
}

func client(r *snapshot.ClientReading) *headroomv1.ClientReading {
	return &headroomv1.ClientReading{
		NewErrors:     r.New,
		TotalErrors:   r.Total,
		RetryIndex:    int32Of(r.RetryIndex),
		ReporterCount: int32Of(r.Reporters),
	}
}

func pressure(r *snapshot.PressureReading) *headroomv1.PressureReading {
	p := &headroomv1.PressureReading{SomeRatio: proto.Float64(r.Some)}
	switch r.Stalled {
	case snapshot.CPU:
		p.Stalled = headroomv1.PressureResource_PRESSURE_RESOURCE_CPU
	case snapshot.Memory:
		p.Stalled = headroomv1.PressureResource_PRESSURE_RESOURCE_MEMORY
	case 0:
		p.Stalled = headroomv1.PressureResource_PRESSURE_RESOURCE_IO
	}
	if r.FullKnown {
		p.FullRatio = proto.Float64(r.Full)
	}
	return p
}

// pressureFrom reads a stalled resource that this version does not know as Custom, since 0 is I/O.
func pressureFrom(p *headroomv1.PressureReading) snapshot.PressureReading {
	r := snapshot.PressureReading{
		Stalled:   snapshot.Custom,
		Some:      p.GetSomeRatio(),
		Full:      p.GetFullRatio(),
		FullKnown: p != nil && p.FullRatio != nil,
	}
	switch p.GetStalled() {
	case headroomv1.PressureResource_PRESSURE_RESOURCE_CPU:
		r.Stalled = snapshot.CPU
	case headroomv1.PressureResource_PRESSURE_RESOURCE_MEMORY:
		r.Stalled = snapshot.Memory
	case headroomv1.PressureResource_PRESSURE_RESOURCE_IO:
		r.Stalled = 0
	}
	return r
}
