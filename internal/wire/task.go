package wire

import (
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
)

// Task returns what is known of a task as a message. expire is when its lease ends, zero for no lease; sample is nil
// for none. Of the processes nothing is sent but what the sample has of them.
func Task(i *task.Info, expire time.Time, sample *task.Sample, now time.Duration) *headroomv1.Task {
	p := &headroomv1.Task{
		TaskId:           text(i.ID),
		Name:             text(i.Name),
		Owner:            text(i.Owner),
		State:            headroomv1.TaskState(i.Ended) + headroomv1.TaskState_TASK_STATE_RUNNING,
		RegisterTime:     timestamp(i.RegisteredTime),
		EndTime:          timestamp(i.EndedTime),
		ExitCode:         i.ExitCode,
		ExpireTime:       timestamp(expire),
		Sandbox:          text(i.Sandbox),
		MemoryLimitBytes: int64If(i.MemoryLimit > 0, i.MemoryLimit),
		SampleInterval:   durationpb.New(i.Interval),
		DiskInterval:     durationpb.New(i.DiskInterval),
		History:          durationpb.New(i.History),
		HistorySpan:      durationpb.New(i.Span),
		SampleCount:      int32Of(i.Samples),
		Thinned:          i.Thinned,
		ProcessesEnded:   i.ProcessesEnded,
	}
	if sample != nil {
		p.Sample = TaskSample(sample, now)
	}
	return p
}

// TaskFrom returns the task of a message, when its lease ends and its sample, nil for none. A state that this version
// does not know is task.Unregistered. now is by the clock of the times returned.
func TaskFrom(p *headroomv1.Task, now time.Duration) (i task.Info, expire time.Time, sample *task.Sample) {
	i = task.Info{
		Spec: task.Spec{
			ID: p.GetTaskId(), Owner: p.GetOwner(), Name: p.GetName(), Sandbox: p.GetSandbox(),
			MemoryLimit: max(p.GetMemoryLimitBytes(), 0), Interval: max(p.GetSampleInterval().AsDuration(), 0),
			DiskInterval: max(p.GetDiskInterval().AsDuration(), 0), History: max(p.GetHistory().AsDuration(), 0),
		},
		RegisteredTime: timeFrom(p.GetRegisterTime()),
		Ended:          task.Unregistered,
		EndedTime:      timeFrom(p.GetEndTime()),
		ProcessesEnded: p.GetProcessesEnded(),
		Span:           max(p.GetHistorySpan().AsDuration(), 0),
		Samples:        count(p.GetSampleCount()),
		Thinned:        p.GetThinned(),
	}
	if end := p.GetState() - headroomv1.TaskState_TASK_STATE_RUNNING; end >= 0 && end <= headroomv1.TaskState(task.LeaseExpired) {
		i.Ended = task.End(end)
	}
	if p != nil && p.ExitCode != nil {
		i.ExitCode = proto.Int32(p.GetExitCode())
	}
	if p.GetSample() != nil {
		s := TaskSampleFrom(p.GetSample(), now)
		sample = &s
	}
	return i, timeFrom(p.GetExpireTime()), sample
}

// TaskSample returns a sample as a message. now is by the clock of its times. The numbers of processes are not sent.
func TaskSample(s *task.Sample, now time.Duration) *headroomv1.TaskSample {
	p := &headroomv1.TaskSample{
		SampleTime:    timestamp(s.Time),
		Age:           age(s.At, now),
		Usage:         taskUsage(&s.Usage, now),
		StoppedReason: text(s.Stopped),
	}
	for i := range s.Processes {
		p.Processes = append(p.Processes, ProcessSample(&s.Processes[i], now))
	}
	if s.Disk != (snapshot.DiskReading{}) {
		p.Disk = diskUsage(s, now)
	}
	return p
}

// TaskSampleFrom returns the sample of a message. now is by the clock of the times returned.
func TaskSampleFrom(p *headroomv1.TaskSample, now time.Duration) task.Sample {
	s := task.Sample{
		At:      atFrom(p.GetAge(), now),
		Time:    timeFrom(p.GetSampleTime()),
		Usage:   taskUsageFrom(p.GetUsage(), now),
		Stopped: p.GetStoppedReason(),
	}
	for _, one := range p.GetProcesses() {
		s.Processes = append(s.Processes, ProcessSampleFrom(one, now))
	}
	if d := p.GetDisk(); d != nil {
		diskUsageFrom(d, &s, now)
	}
	return s
}

// ProcessSample returns what one process of a task used as a message.
func ProcessSample(u *task.ProcessUsage, now time.Duration) *headroomv1.ProcessSample {
	return &headroomv1.ProcessSample{
		Name: text(u.Name), Pid: int64If(u.PID > 0, int64(u.PID)), Ended: u.Ended, Usage: taskUsage(&u.Usage, now),
	}
}

// ProcessSampleFrom returns what one process of a task used.
func ProcessSampleFrom(p *headroomv1.ProcessSample, now time.Duration) task.ProcessUsage {
	return task.ProcessUsage{
		Name: p.GetName(), PID: int32(max(0, min(p.GetPid(), math.MaxInt32))), Ended: p.GetEnded(),
		Usage: taskUsageFrom(p.GetUsage(), now),
	}
}

func taskUsage(u *task.Usage, now time.Duration) *headroomv1.TaskUsage {
	p := &headroomv1.TaskUsage{
		PssBytes:          int64If(u.PSSKnown, u.PSS),
		CgroupMemoryBytes: int64If(u.GroupKnown, u.Group),
		RssBytes:          int64If(u.Known, u.RSS),
		VmsBytes:          int64If(u.Known, u.VMS),
	}
	if u.CPUKnown {
		p.CpuTime, p.UserTime, p.SystemTime = durationpb.New(u.CPU), durationpb.New(u.User), durationpb.New(u.System)
	}
	if u.RateKnown {
		p.CpuCores = proto.Float64(u.Rate)
	}
	if bytes, definition, ok := u.Memory(); ok {
		p.MemoryBytes, p.MemoryDefinition = proto.Int64(bytes), definition
	}
	if u.PSSKnown {
		p.PssAge = age(u.PSSAt, now)
	}
	if u.Known {
		p.ThreadCount, p.ProcessCount = proto.Int32(u.Threads), proto.Int32(u.Processes)
	}
	if u.StatusKnown {
		p.State, p.Nice = headroomv1.ProcessState(u.Status), proto.Int32(int32(u.Nice))
	}
	return p
}

func taskUsageFrom(p *headroomv1.TaskUsage, now time.Duration) task.Usage {
	u := task.Usage{
		CPU:      max(p.GetCpuTime().AsDuration(), 0),
		User:     max(p.GetUserTime().AsDuration(), 0),
		System:   max(p.GetSystemTime().AsDuration(), 0),
		CPUKnown: p.GetCpuTime() != nil,
	}
	if p == nil {
		return u
	}
	if rate := p.GetCpuCores(); p.CpuCores != nil && rate >= 0 {
		u.Rate, u.RateKnown = rate, true
	}
	if p.RssBytes != nil && p.ProcessCount != nil {
		u.Known = true
		u.RSS, u.VMS = max(p.GetRssBytes(), 0), max(p.GetVmsBytes(), 0)
		u.Threads, u.Processes = max(p.GetThreadCount(), 0), max(p.GetProcessCount(), 0)
	}
	if p.PssBytes != nil {
		u.PSS, u.PSSAt, u.PSSKnown = max(p.GetPssBytes(), 0), atFrom(p.GetPssAge(), now), true
	}
	if p.CgroupMemoryBytes != nil {
		u.Group, u.GroupKnown = max(p.GetCgroupMemoryBytes(), 0), true
	}
	if p.Nice != nil && p.GetNice() >= -20 && p.GetNice() <= 20 {
		u.Nice, u.StatusKnown = int8(p.GetNice()), true
		if s := p.GetState(); s > 0 && s <= headroomv1.ProcessState(snapshot.ProcessIdle) {
			u.Status = snapshot.ProcessStatus(s)
		}
	}
	return u
}

func diskUsage(s *task.Sample, now time.Duration) *headroomv1.DiskUsage {
	known := s.Disk.State != snapshot.DiskUnknown
	p := &headroomv1.DiskUsage{
		State:      headroomv1.DiskState(s.Disk.State) + headroomv1.DiskState_DISK_STATE_UNKNOWN,
		UsedBytes:  int64If(known, s.Disk.Bytes),
		EntryCount: int64If(known, s.Disk.Entries),
		Took:       durationIf(known, s.Disk.Took),
		Reason:     text(s.Disk.Reason),
		Source:     headroomv1.DiskSource(s.Disk.Source),
	}
	if known {
		p.SampleTime, p.Age = timestamp(s.DiskTime), age(s.DiskAt, now)
	}
	return p
}

func diskUsageFrom(p *headroomv1.DiskUsage, s *task.Sample, now time.Duration) {
	s.Disk = snapshot.DiskReading{Reason: p.GetReason()}
	state := p.GetState() - headroomv1.DiskState_DISK_STATE_UNKNOWN
	if state <= 0 || state > headroomv1.DiskState(snapshot.DiskOK) {
		return
	}
	s.Disk.State = snapshot.DiskState(state)
	s.Disk.Bytes, s.Disk.Entries = max(p.GetUsedBytes(), 0), max(p.GetEntryCount(), 0)
	s.Disk.Took = max(p.GetTook().AsDuration(), 0)
	if source := p.GetSource(); source > 0 && source <= headroomv1.DiskSource(snapshot.DiskAccounted) {
		s.Disk.Source = snapshot.DiskSource(source)
	}
	s.DiskAt, s.DiskTime = atFrom(p.GetAge(), now), timeFrom(p.GetSampleTime())
}

// SampleMode returns the mode as it is on the wire.
func SampleMode(m task.Mode) headroomv1.SampleMode {
	return headroomv1.SampleMode(m) + headroomv1.SampleMode_SAMPLE_MODE_NEAREST
}

// SampleModeFrom returns the mode; Nearest for one that is not given or not known.
func SampleModeFrom(p headroomv1.SampleMode) task.Mode {
	if p < headroomv1.SampleMode_SAMPLE_MODE_NEAREST || p > headroomv1.SampleMode_SAMPLE_MODE_CEILING {
		return task.Nearest
	}
	return task.Mode(p - headroomv1.SampleMode_SAMPLE_MODE_NEAREST)
}

// SamplingHealth returns how the sampling keeps up as a message. hung counts the mounts that do not answer.
func SamplingHealth(h *task.Health, hung int) *headroomv1.SamplingHealth {
	p := &headroomv1.SamplingHealth{
		PassCount:       h.Passes,
		FailedCount:     h.Failed,
		Cost:            durationpb.New(h.Cost),
		Interval:        durationpb.New(h.Interval),
		Lag:             durationpb.New(h.Lag),
		MissedCount:     h.Missed,
		ProcessCount:    int32Of(h.Processes),
		UnreadableCount: int32Of(h.Unreadable),
		HistoryBytes:    h.HistoryBytes,
		HungMountCount:  int32Of(hung),
	}
	if h.Err != nil {
		p.FailureReason = text(h.Err.Error())
	}
	return p
}
