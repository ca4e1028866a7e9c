package severity

import (
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// Input is all that conditions look at: one instant, and what is known of it. A [Reader] makes it from a
// snapshot.View; a program may as well fill it itself. What it leaves out is Unknown.
type Input struct {
	// At is the instant, by a clock that never goes back. It decides.
	At time.Duration

	// Time is the instant by the wall clock. It is for people.
	Time time.Time

	// Memory is the memory of the host, or what a limit leaves of it: of all limits that hold, the one with the
	// least left.
	Memory Memory

	// Process is the memory of the process that the Local conditions look at.
	Process Process

	// Exhaustion is when the memory will have run out, as far as can be told.
	Exhaustion Exhaustion

	// Rates are the rates of change of signals.
	Rates []Rate

	// Current and Historical are the judgements of all signals.
	Current, Historical snapshot.Status

	// Newest are the newest snapshots of the signals, pressure and the program's own among them.
	Newest []snapshot.Snapshot

	custom []customAnswer
}

// Memory is a reading of memory, in bytes.
type Memory struct {
	// Available of Total bytes can be had without pushing others out; Used are the rest.
	Available, Total, Used int64

	// At is when the reading was made.
	At time.Duration

	// Known is whether there is a reading. Reason says why there is none.
	Known  bool
	Reason string

	// Definition says what Used counts, for people.
	Definition string

	// Limit says which limit Total is, such as "memory.max of /kubepods/pod1". Empty when that is not known.
	Limit string
}

// Process is a reading of the memory of one process or of a process tree, in bytes.
type Process struct {
	// Used is the memory in use: PSS where it can be had, else RSS.
	Used int64

	// Max is what the process may use. [Config.ProcessMax] replaces it.
	Max int64

	// At is when the reading was made.
	At time.Duration

	// Known is whether there is a reading. Reason says why there is none.
	Known  bool
	Reason string

	// Definition says what Used counts, for people.
	Definition string

	// Limit says whose maximum Max is, such as the memory limit of a task, for people. Empty when that goes without
	// saying.
	Limit string
}

// Rate is how fast the value of a signal changes.
type Rate struct {
	// Signal is the name of the signal.
	Signal string

	// PerSecond is the change in a second, in the unit of the signal. Fit is how well a straight line fits,
	// in [0, 1].
	PerSecond, Fit float64

	// At is when the newest reading behind it was made.
	At time.Duration

	// Known is whether a line fits. Reason says why there is no rate.
	Known  bool
	Reason string
}

const notRead = "not read"

func (m *Memory) unknown() string {
	switch {
	case m.Known && m.Total > 0:
		return ""
	case m.Known:
		return "the total memory is unknown"
	default:
		return orNotRead(m.Reason)
	}
}

func (p *Process) unknown() string {
	switch {
	case p.Known && p.Max > 0:
		return ""
	case p.Known:
		return "the maximum of the process is unknown"
	default:
		return orNotRead(p.Reason)
	}
}

func orNotRead(reason string) string {
	if reason == "" {
		return notRead
	}
	return reason
}

// age returns how old a reading of the time is.
func (in *Input) age(at time.Duration) time.Duration { return max(in.At-at, 0) }

// signal returns the newest snapshot of a signal, or nil.
func (in *Input) signal(name string) *snapshot.Snapshot {
	for i := range in.Newest {
		if in.Newest[i].Signal == name {
			return &in.Newest[i]
		}
	}
	return nil
}

// ReaderConfig says how views are read. Its zero value reads the memory of a Snapshotter of scope process.
type ReaderConfig struct {
	// Scope is that of the Snapshotter. In scope process its memory signal is the process, and the memory is
	// that under the tightest limit or, where that is not known, of the host; in scope host, without a tightest
	// limit, it is the memory that is judged, or that of the host if a smaller share of it is left.
	Scope snapshot.Scope

	// MaxMemory is a limit in bytes on the memory that is judged in scope host, beside the tightest one. 0
	// means none.
	MaxMemory int64

	// Signals are those whose rate is followed; see [Engine.RateSignals].
	Signals []string
}

// Reader makes inputs from views and follows what needs a past: time to exhaustion and rates. It keeps at
// most 32 points of each. It is not safe for concurrent use.
type Reader struct {
	cfg    ReaderConfig
	memory Trend // of what is available
	total  int64 // under this limit
	limit  string
	rates  []signalTrend
}

type signalTrend struct {
	signal string
	trend  Trend
}

// NewReader returns a Reader without a past.
func NewReader(c ReaderConfig) *Reader {
	r := &Reader{cfg: c}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(c.Signals))) {
		r.rates = append(r.rates, signalTrend{signal: name})
	}
	return r
}

// Read returns what the view says, and remembers it. The Input shares the slices of the view, which must no
// longer change.
func (r *Reader) Read(v snapshot.View) Input {
	in := Input{At: v.At, Time: v.Time, Current: v.Current, Historical: v.Historical, Newest: v.Newest}
	r.readMemory(&in)
	r.exhaustion(&in)
	for i := range r.rates {
		in.Rates = append(in.Rates, r.rates[i].read(&in))
	}
	return in
}

func (r *Reader) readMemory(in *Input) {
	snap := in.signal(snapshot.SignalMemory)
	if reason := unusable(in, snap, snapshot.SignalMemory); reason != "" {
		in.Memory.Reason, in.Process.Reason = reason, reason
		if snap != nil {
			in.Memory.At, in.Process.At = snap.At, snap.At
			if !snap.Known() && snap.HasLastGood {
				in.Memory.At, in.Process.At = snap.LastGood, snap.LastGood
			}
		}
		return
	}
	if r.cfg.Scope == snapshot.ScopeProcess {
		read := &snap.Memory
		in.Process = Process{Used: read.Used, Max: read.Max, At: snap.At, Known: true, Definition: read.Definition}
	}
	in.Memory = r.memoryOf(&snap.Memory)
	in.Memory.At = snap.At
}

const (
	hostMemory      = "memory of the host"
	maxMemory       = "max-memory"
	workingSet      = "working set"
	unknownHostText = "the memory of the host is unknown"
)

// memoryOf returns the memory that a reading is about.
func (r *Reader) memoryOf(read *snapshot.MemoryReading) Memory {
	host := Memory{Reason: unknownHostText}
	if read.HostKnown {
		host = memoryLevel(read.HostUsed, read.HostTotal, hostMemory, hostMemory)
	}
	capped := memoryLevel(read.Used, r.cfg.MaxMemory, read.Definition, maxMemory)
	byFlag := r.cfg.Scope == snapshot.ScopeHost && r.cfg.MaxMemory > 0
	if t := &read.Tightest; t.Limit != "" {
		tightest := memoryLevel(t.Used, t.Total, workingSet, t.Limit)
		if byFlag && capped.Available < tightest.Available {
			return capped
		}
		return tightest
	}
	if r.cfg.Scope == snapshot.ScopeProcess {
		return host
	}
	m := capped
	if !byFlag || read.Total > 0 && read.Total < capped.Total {
		m = memoryLevel(read.Used, read.Total, read.Definition, read.Limit)
	}
	// A container's limit is no help when the host itself runs out first.
	if host.Total > 0 && host.share() < m.share() {
		return host
	}
	return m
}

func memoryLevel(used, total int64, definition, limit string) Memory {
	return Memory{
		Available: max(total-used, 0), Total: total, Used: used, Known: true, Definition: definition, Limit: limit,
	}
}

// share returns the share that is available.
func (m *Memory) share() float64 { return float64(m.Available) / float64(m.Total) }

// unusable says why the newest snapshot of a signal must not be judged, or returns "".
func unusable(in *Input, snap *snapshot.Snapshot, signal string) string {
	if snap == nil {
		return notRead
	}
	if !snap.Known() {
		return snap.Unknown
	}
	for i := range in.Current.Signals {
		if s := &in.Current.Signals[i]; s.Signal == signal && s.State == snapshot.StateUnknown {
			return orNotRead(s.Reason)
		}
	}
	return ""
}

func (r *Reader) exhaustion(in *Input) {
	m := &in.Memory
	if reason := m.unknown(); reason != "" {
		in.Exhaustion = Exhaustion{Reason: reason}
		return
	}
	if m.Total != r.total || m.Limit != r.limit { // what is available is another quantity then
		r.memory.Reset()
		r.total, r.limit = m.Total, m.Limit
	}
	r.memory.Add(m.At, float64(m.Available))
	in.Exhaustion = r.memory.exhaustion(float64(m.Available), m.At)
}

func (s *signalTrend) read(in *Input) Rate {
	rate := Rate{Signal: s.signal}
	snap := in.signal(s.signal)
	if reason := unusable(in, snap, s.signal); reason != "" {
		rate.Reason = reason
		return rate
	}
	s.trend.Add(snap.At, snap.Value)
	rate.At = snap.At
	line, reason := s.trend.Line()
	rate.PerSecond, rate.Fit, rate.Known, rate.Reason = line.PerSecond, line.Fit, reason == "", reason
	return rate
}
