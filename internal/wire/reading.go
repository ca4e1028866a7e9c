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
			s.CPU = snapshot.CPUReading{Used: r.GetUsedRatio(), Cores: r.GetCapacityCores(), Source: s.Source}
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
	case snapshot.Custom:
		s.Custom.Reporters = count(p.GetCustom().GetReporterCount())
	}
}

func cpu(r *snapshot.CPUReading) *headroomv1.CpuReading {
	p := &headroomv1.CpuReading{UsedRatio: proto.Float64(r.Used)}
	if r.Cores != 0 {
		p.CapacityCores = proto.Float64(r.Cores)
	}
	return p
}

func memory(r *snapshot.MemoryReading) *headroomv1.MemoryReading {
	p := &headroomv1.MemoryReading{
		UsedBytes:  proto.Int64(r.Used),
		Definition: text(r.Definition),
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
	return p
}

func memoryFrom(p *headroomv1.MemoryReading) snapshot.MemoryReading {
	r := snapshot.MemoryReading{
		Used:       p.GetUsedBytes(),
		Total:      p.GetTotalBytes(),
		Max:        p.GetMaxBytes(),
		Definition: p.GetDefinition(),
	}
	if p.HostUsedBytes != nil && p.HostTotalBytes != nil {
		r.HostUsed, r.HostTotal, r.HostKnown = p.GetHostUsedBytes(), p.GetHostTotalBytes(), true
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
