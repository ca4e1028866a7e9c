package task

import (
	"fmt"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// gapAfter is after how many intervals without a pass the time between is not one to take rates over.
const gapAfter = 3

// costShare bounds what sampling takes: the interval is at least this many times the cost of a pass.
const costShare = 100

// Monitor keeps tasks and what they use. It is not safe for concurrent use. Times are by a clock of the caller's
// that does not go back; the wall clock is for people.
type Monitor struct {
	cfg    Config
	tasks  map[string]*entry
	order  []*entry // as registered
	number uint64   // of the last named process
	forest forest

	bytes   int64
	health  Health
	passed  bool
	lastAt  time.Duration
	began   uint64 // when the last pass began, by the clock of the processes
	fresh   bool   // a process was registered whose descendants nobody has looked at
	late    bool   // one was since the pass began that is being taken up
	stopped string
}

// entry is one task.
type entry struct {
	Info
	accounts []account
	overlap  overlap
	history  history
	bytes    int64
	due      time.Duration // of the next sample for the history
	sampled  bool
	at       time.Duration // of the newest sample
	wall     time.Time
	stale    string // why the pass after it failed

	disk     diskRecord // the newest that was read
	diskDue  time.Duration
	diskRead bool
	diskBusy bool
}

// NewMonitor returns a Monitor without tasks. It reports every fault of c at once.
func NewMonitor(c Config) (*Monitor, error) {
	c = c.WithDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("task: config: %w", err)
	}
	return &Monitor{cfg: c, tasks: make(map[string]*entry)}, nil
}

// Config returns the config with its defaults.
func (m *Monitor) Config() Config { return m.cfg }

// Register adds a task and returns the numbers of its processes. Its first sample is due at once. The error is
// ErrFull, or every fault of s; those are of type FieldError, joined.
func (m *Monitor) Register(now time.Duration, wall time.Time, s Spec) ([]uint64, error) {
	fill(&s.Interval, m.cfg.Interval)
	fill(&s.DiskInterval, m.cfg.DiskInterval)
	fill(&s.History, m.cfg.History)
	if err := s.check(); err != nil {
		return nil, err
	}
	if m.tasks[s.ID] != nil {
		return nil, fmt.Errorf("task: %q is registered already", s.ID)
	}
	if len(m.tasks) >= m.cfg.MaxTasks {
		return nil, ErrFull
	}
	processes := s.Processes
	s.Processes = nil
	e := &entry{Info: Info{Spec: s, Registered: now, RegisteredTime: wall}, due: now, diskDue: now}
	m.tasks[s.ID] = e
	m.order = append(m.order, e)
	return m.addProcesses(e, processes), nil
}

func (m *Monitor) addProcesses(e *entry, processes []Process) []uint64 {
	var numbers []uint64
	for _, p := range processes {
		m.number++
		numbers = append(numbers, m.number)
		e.Processes = append(e.Processes, p)
		e.accounts = append(e.accounts, account{Process: p, number: m.number})
	}
	m.fresh = m.fresh || len(processes) > 0
	return numbers
}

// AddProcesses adds processes to a task, such as one that was started again under its name. The oldest of those that
// have ended make room where there are too many.
func (m *Monitor) AddProcesses(id string, processes []Process) ([]uint64, error) {
	e := m.tasks[id]
	switch {
	case e == nil:
		return nil, ErrNotFound
	case e.Ended != Running:
		return nil, ErrEnded
	}
	over := len(e.accounts) + len(processes) - MaxProcesses
	ended := 0
	for i := range e.accounts {
		if e.accounts[i].ended {
			ended++
		}
	}
	if over > ended {
		return nil, &FieldError{"Processes", fmt.Sprintf("%d that have not ended are more than %d",
			len(e.accounts)-ended+len(processes), MaxProcesses)}
	}
	for i := 0; over > 0; {
		if !e.accounts[i].ended {
			i++
			continue
		}
		e.overlap.drop(&e.accounts[i])
		e.accounts = slices.Delete(e.accounts, i, i+1)
		e.Processes = slices.Delete(e.Processes, i, i+1)
		over--
	}
	return m.addProcesses(e, processes), nil
}

// SetMemoryLimit replaces the limit of a task.
func (m *Monitor) SetMemoryLimit(id string, bytes int64) error {
	e := m.tasks[id]
	if e == nil {
		return ErrNotFound
	}
	e.MemoryLimit = bytes
	return nil
}

// End ends a task. Its history is kept for a while. Ending one that has ended changes nothing.
func (m *Monitor) End(now time.Duration, wall time.Time, id string, how End, exitCode *int32) error {
	e := m.tasks[id]
	if e == nil {
		return ErrNotFound
	}
	if e.Ended == Running {
		e.Ended, e.EndedAt, e.EndedTime, e.ExitCode = how, now, wall, exitCode
		if e.sampled {
			m.record(e) // its last sample stays
		}
	}
	return nil
}

// Forget removes the tasks that ended longer ago than they are kept.
func (m *Monitor) Forget(now time.Duration) {
	m.order = slices.DeleteFunc(m.order, func(e *entry) bool {
		gone := e.Ended != Running && now-e.EndedAt >= m.cfg.Keep
		if gone {
			delete(m.tasks, e.ID)
			m.bytes -= e.bytes
		}
		return gone
	})
}

// DropEnded removes the task that ended first, of the owner or of all for "", and reports whether there was one.
func (m *Monitor) DropEnded(owner string) bool {
	var first *entry
	for _, e := range m.order {
		if e.Ended != Running && (owner == "" || e.Owner == owner) && (first == nil || e.EndedAt < first.EndedAt) {
			first = e
		}
	}
	if first == nil {
		return false
	}
	m.order = slices.DeleteFunc(m.order, func(e *entry) bool { return e == first })
	delete(m.tasks, first.ID)
	m.bytes -= first.bytes
	return true
}

// Next returns when the next pass is due, and whether one is at all. A task whose interval is a multiple of
// another's is sampled together with it.
func (m *Monitor) Next() (at time.Duration, ok bool) {
	for _, e := range m.order {
		if e.Ended == Running && len(e.accounts) > 0 && (!ok || e.due < at) {
			at, ok = e.due, true
		}
	}
	if ok && m.passed {
		at = max(at, m.lastAt+costShare*m.health.Cost)
	}
	return at, ok
}

// Fresh reports whether a pass has to read every process anew: one was registered, whose descendants nobody has
// looked at yet.
func (m *Monitor) Fresh() bool { return m.fresh }

// A Pass is one look at all processes.
type Pass struct {
	At        time.Duration
	Time      time.Time
	Processes *snapshot.Processes // nil where they could not be read
	Err       error               // why
	Cost      time.Duration       // the CPU time that it took, or how long where that is not known
	All       bool                // every process was read anew; see Fresh

	// Outside returns what is known besides of the process with the number; nil for one that was registered since
	// the pass began, of which nothing is known yet.
	Outside func(number uint64) *Outside
}

// Observe takes up a pass and marks the processes that the next one shall read. Every task has a new sample then;
// in the history are those that were due. The error is ErrTimeOrder for a pass that is older than the last one.
func (m *Monitor) Observe(p Pass) error {
	if m.passed && p.At < m.lastAt {
		return ErrTimeOrder
	}
	m.health.Passes++
	m.health.Cost, m.health.Err = p.Cost, p.Err
	m.health.Interval = max(m.cfg.Interval, costShare*p.Cost)
	if p.Err != nil || p.Processes == nil {
		m.health.Failed++
		m.fail(p)
		return nil
	}
	clear(p.Processes.Watch)
	m.forest.grow(p.Processes)
	m.health.Processes, m.health.Unreadable = p.Processes.Len(), p.Processes.Unreadable
	m.health.Lag, m.late = 0, false
	for _, e := range m.order {
		if e.Ended == Running {
			m.observe(e, &p)
		}
	}
	m.passed, m.lastAt, m.began = true, p.At, p.Processes.Began
	m.fresh = m.late || m.fresh && !p.All
	m.shrink()
	return nil
}

func (m *Monitor) observe(e *entry, p *Pass) {
	gap := e.sampled && p.At-e.at > gapAfter*max(e.Interval, costShare*p.Cost)
	seen, ended, first := 0, 0, false
	e.overlap.begin(&m.forest)
	for i := range e.accounts {
		a := &e.accounts[i]
		out := p.Outside(a.number)
		if out == nil {
			m.late = true
			continue
		}
		seen++
		first = first || !a.seen
		byGroup := a.byGroup
		a.observe(p.At, &m.forest, out, m.began, gap)
		if len(e.accounts) > 1 {
			e.overlap.take(&m.forest, a, a.byGroup && !byGroup)
		}
		if a.ended {
			ended++
		}
	}
	e.ProcessesEnded = ended > 0 && ended == len(e.accounts)
	if seen == 0 {
		return
	}
	if len(e.accounts) > 1 {
		e.overlap.end(p.At, &m.forest, e.accounts, first, gap)
	}
	e.sampled, e.at, e.wall, e.stale = true, p.At, p.Time, ""
	if p.At < e.due {
		return
	}
	m.health.Lag = max(m.health.Lag, p.At-e.due)
	m.schedule(e, p.At)
	m.record(e)
}

// schedule sets when the next sample of the task is due: on a grid that all tasks share. What was missed is not
// made up for.
func (m *Monitor) schedule(e *entry, now time.Duration) {
	interval := max(e.Interval, costShare*m.health.Cost)
	next := now - now%interval + interval
	if e.history.records.head < len(e.history.records.items) { // the first one is due at any time
		m.health.Missed += int64((now - e.due) / interval)
	}
	e.due = next
}

// record takes the newest sample up into the history.
func (m *Monitor) record(e *entry) {
	// The order was checked for all.
	_ = e.history.add(e.at, e.wall.UnixNano(), e.accounts, &e.overlap)
	e.history.trim(e.at-e.History, MaxPoints)
	m.weigh(e)
}

// weigh takes the memory of the history up into the sum.
func (m *Monitor) weigh(e *entry) {
	bytes := e.history.bytes()
	m.bytes += bytes - e.bytes
	e.bytes = bytes
}

// shrink thins the largest histories until all are within the bound.
func (m *Monitor) shrink() {
	for m.bytes > m.cfg.HistoryBytes {
		var largest *entry
		for _, e := range m.order {
			if largest == nil || e.bytes > largest.bytes {
				largest = e
			}
		}
		before := m.bytes
		if largest == nil || !largest.history.thin() {
			return // a few samples of very many tasks
		}
		m.weigh(largest)
		if m.bytes >= before {
			return
		}
	}
}

// fail notes that a pass failed. Samples are not made up.
func (m *Monitor) fail(p Pass) {
	why := "the processes could not be read"
	if p.Err != nil {
		why += ": " + p.Err.Error()
	}
	for _, e := range m.order {
		if e.Ended != Running {
			continue
		}
		e.stale = why
		if p.At >= e.due {
			m.schedule(e, p.At)
		}
	}
}

// Stop notes that nobody samples any longer, and why. Every later sample says so.
func (m *Monitor) Stop(why string) { m.stopped = why }

// Health returns how the sampling keeps up.
func (m *Monitor) Health() Health {
	h := m.health
	if h.Interval == 0 {
		h.Interval = m.cfg.Interval
	}
	h.HistoryBytes = m.bytes
	for _, e := range m.order {
		if e.Ended == Running {
			h.Tasks++
		}
	}
	return h
}
