package task

import (
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// Info returns what is known of a task.
func (m *Monitor) Info(id string) (Info, error) {
	e := m.tasks[id]
	if e == nil {
		return Info{}, ErrNotFound
	}
	return e.info(), nil
}

func (e *entry) info() Info {
	info := e.Info
	info.Processes = append([]Process(nil), e.Processes...)
	if live := e.history.records.live(); len(live) > 0 {
		info.Span, info.Samples = live[len(live)-1].at-live[0].at, len(live)
	}
	info.Thinned = e.history.thinned
	return info
}

// Len returns how many tasks are known, those that have ended among them.
func (m *Monitor) Len() int { return len(m.order) }

// Count returns how many tasks the owner has, those that have ended among them.
func (m *Monitor) Count(owner string) (n int) {
	for _, e := range m.order {
		if e.Owner == owner {
			n++
		}
	}
	return n
}

// List returns all tasks in the order in which they were registered, those that have ended among them.
func (m *Monitor) List() []Info {
	all := make([]Info, 0, len(m.order))
	for _, e := range m.order {
		all = append(all, e.info())
	}
	return all
}

// Sample returns a sample of a task. The error is ErrNotFound, or ErrNoSample where there is none that the query
// allows.
func (m *Monitor) Sample(now time.Duration, id string, q Query) (Sample, error) {
	e := m.tasks[id]
	if e == nil {
		return Sample{}, ErrNotFound
	}
	if !q.Past {
		return m.newest(now, e, q.MaxAge)
	}
	records := e.history.records.live()
	i := nearest(len(records), func(i int) time.Duration { return records[i].at }, q.At, q.Mode)
	if i < 0 {
		return Sample{}, fmt.Errorf("%w: the history of the task begins later", ErrNoSample)
	}
	r := records[i]
	if far := max(r.at-q.At, q.At-r.at); q.MaxAge > 0 && far > q.MaxAge {
		return Sample{}, fmt.Errorf("%w: the one that answers is %v from the time asked for", ErrNoSample, far.Round(time.Millisecond))
	}
	s := Sample{At: r.at, Time: time.Unix(0, r.wall)}
	points := e.history.of(r)
	for _, p := range points {
		if p.number == 0 {
			continue
		}
		u := ProcessUsage{Number: p.number, Usage: p.Usage}
		for k := range e.accounts {
			if a := &e.accounts[k]; a.number == p.number {
				u.Name, u.PID, u.Ended = a.Name, a.PID, p.Known && p.Processes == 0
			}
		}
		s.Processes = append(s.Processes, u)
	}
	s.Usage = total(s.Processes)
	if last := len(points) - 1; last >= 0 && points[last].number == 0 {
		s.Usage.correct(&points[last].Usage)
	}
	disk := e.history.disk.live()
	if i := nearest(len(disk), func(i int) time.Duration { return disk[i].at }, q.At, q.Mode); i >= 0 {
		s.Disk, s.DiskAt, s.DiskTime = disk[i].use, disk[i].at, time.Unix(0, disk[i].wall)
	} else {
		s.Disk.Reason = e.noDisk()
	}
	return s, nil
}

func (m *Monitor) newest(now time.Duration, e *entry, maxAge time.Duration) (Sample, error) {
	s := Sample{At: e.at, Time: e.wall, Stopped: m.why(now, e)}
	switch {
	case len(e.accounts) == 0 && e.Sandbox == "":
		return Sample{}, fmt.Errorf("%w: the task has neither processes nor a folder", ErrNoSample)
	case len(e.accounts) == 0 && e.diskRead:
		s.At, s.Time = e.disk.at, time.Unix(0, e.disk.wall)
	case len(e.accounts) == 0:
		s.At, s.Time = e.Registered, e.RegisteredTime
	case !e.sampled:
		return Sample{}, fmt.Errorf("%w: the task was not sampled yet", ErrNoSample)
	}
	if age := now - s.At; maxAge > 0 && age > maxAge {
		return Sample{}, fmt.Errorf("%w: the newest is %v old", ErrNoSample, age.Round(time.Millisecond))
	}
	for i := range e.accounts {
		if a := &e.accounts[i]; a.seen {
			s.Processes = append(s.Processes, ProcessUsage{a.Name, a.number, a.PID, a.ended, a.last})
		}
	}
	if len(s.Processes) == 0 && len(e.accounts) > 0 {
		return Sample{}, fmt.Errorf("%w: none of its processes was sampled yet", ErrNoSample) // others made room for them
	}
	s.Usage = total(s.Processes)
	if fix, ok := e.overlap.correction(e.accounts); ok {
		s.Usage.correct(&fix)
	}
	s.Disk, s.DiskAt, s.DiskTime = e.disk.use, e.disk.at, time.Unix(0, e.disk.wall)
	if !e.diskRead {
		s.Disk.Reason = e.noDisk()
	} else if s.Disk.State == snapshot.DiskOK && e.Ended == Running && now-e.disk.at > 2*e.DiskInterval {
		s.Disk.State, s.Disk.Reason = snapshot.DiskStale, "the folder was not read again in time"
	}
	return s, nil
}

// noDisk says why there is no reading of a folder; empty for no folder.
func (e *entry) noDisk() string {
	if e.Sandbox == "" {
		return ""
	}
	return "the folder was not read yet"
}

// why says why there is no newer sample.
func (m *Monitor) why(now time.Duration, e *entry) string {
	switch {
	case e.Ended != Running:
		return "the task has ended: " + e.Ended.String()
	case m.stopped != "":
		return m.stopped
	case e.stale != "":
		return e.stale
	case len(e.accounts) > 0 && now-e.at > gapAfter*max(e.Interval, costShare*m.health.Cost):
		return "no sample was taken in time"
	default:
		return ""
	}
}

// ProcessSample returns what one named process of a task uses; of two with the name the newer one. The error is
// ErrNoProcess for a name that the task does not have. The Sample has that process only.
func (m *Monitor) ProcessSample(now time.Duration, id, name string, q Query) (Sample, error) {
	e := m.tasks[id]
	if e == nil {
		return Sample{}, ErrNotFound
	}
	last := -1
	for i := range e.accounts {
		if e.accounts[i].Name == name {
			last = i
		}
	}
	if last < 0 {
		return Sample{}, fmt.Errorf("%w: the task has no process %q", ErrNoProcess, name)
	}
	if !q.Past && !e.accounts[last].seen {
		return Sample{}, fmt.Errorf("%w: process %q was not sampled yet", ErrNoSample, name)
	}
	s, err := m.Sample(now, id, q)
	if err != nil {
		return Sample{}, err
	}
	for i := len(s.Processes) - 1; i >= 0; i-- {
		if s.Processes[i].Name == name {
			s.Processes = s.Processes[i : i+1]
			s.Usage = s.Processes[0].Usage
			return s, nil
		}
	}
	return Sample{}, fmt.Errorf("%w: process %q was not sampled by then", ErrNoSample, name)
}

// A DiskJob is a folder that is to be read.
type DiskJob struct{ ID, Owner, Sandbox string }

// DiskDue returns the folders whose reading is due, and takes them for begun: DiskDone ends each.
func (m *Monitor) DiskDue(now time.Duration) []DiskJob {
	var due []DiskJob
	for _, e := range m.order {
		if e.Ended == Running && e.Sandbox != "" && !e.diskBusy && now >= e.diskDue {
			e.diskBusy = true
			due = append(due, DiskJob{e.ID, e.Owner, e.Sandbox})
		}
	}
	return due
}

// NextDisk returns when the next folder is due, if any is.
func (m *Monitor) NextDisk() (at time.Duration, ok bool) {
	for _, e := range m.order {
		if e.Ended == Running && e.Sandbox != "" && !e.diskBusy && (!ok || e.diskDue < at) {
			at, ok = e.diskDue, true
		}
	}
	return at, ok
}

// DiskDone takes up what was found in the folder of a task. The next reading is due after the interval, or after
// 100 times the CPU time of this one. One that is unknown after one that was known leaves that, which is stale then; one
// that is not whole because the task has ended leaves it as it is.
func (m *Monitor) DiskDone(now time.Duration, wall time.Time, id string, use snapshot.DiskReading) {
	e := m.tasks[id]
	if e == nil {
		return // forgotten meanwhile
	}
	e.diskBusy = false
	e.diskDue = now + max(e.DiskInterval, costShare*use.CPU)
	if e.Ended != Running && e.disk.use.State != snapshot.DiskUnknown && use.State != snapshot.DiskOK {
		return
	}
	if use.State == snapshot.DiskUnknown && e.diskRead && e.disk.use.State != snapshot.DiskUnknown {
		if e.disk.use.State != snapshot.DiskPartial {
			e.disk.use.State = snapshot.DiskStale
		}
		e.disk.use.Reason = use.Reason
		return
	}
	e.disk, e.diskRead = diskRecord{now, wall.UnixNano(), use}, true
	// The order is that of now, which does not go back.
	_ = e.history.addDisk(now, wall.UnixNano(), use)
	e.history.trim(now-e.History, MaxPoints)
	m.weigh(e)
}

// A Target is a process whose PSS is asked for.
type Target struct {
	Number uint64
	PID    int32
	Start  uint64
}

// pssEvery is the least time between two readings of the PSS of a task.
const pssEvery = time.Minute

// PSSTargets returns the processes of a task whose PSS is to be read for somebody who asks: none if it was read
// less than a minute ago.
func (m *Monitor) PSSTargets(now time.Duration, id string) []Target {
	e := m.tasks[id]
	if e == nil || e.Ended != Running {
		return nil
	}
	var all []Target
	for i := range e.accounts {
		a := &e.accounts[i]
		if a.pssKnown && now-a.pssAt < pssEvery || a.pssAsked && now-a.pssAt < pssEvery {
			continue
		}
		a.pssAsked, a.pssAt = true, now
		for _, p := range a.members {
			all = append(all, Target{a.number, p.pid, p.start})
		}
	}
	return all
}

// SetPSS takes up the PSS of the process with the number, the sum over its tree; known is false where it could not
// be read whole.
func (m *Monitor) SetPSS(now time.Duration, id string, number uint64, bytes int64, known bool) {
	e := m.tasks[id]
	if e == nil {
		return
	}
	for i := range e.accounts {
		if a := &e.accounts[i]; a.number == number {
			a.pss, a.pssAt, a.pssKnown = bytes, now, known
			a.last.PSS, a.last.PSSAt, a.last.PSSKnown = bytes, now, known
		}
	}
}

// Numbers returns the numbers of the processes of a task, in the order of its Processes.
func (m *Monitor) Numbers(id string) []uint64 {
	e := m.tasks[id]
	if e == nil {
		return nil
	}
	numbers := make([]uint64, len(e.accounts))
	for i := range e.accounts {
		numbers[i] = e.accounts[i].number
	}
	return numbers
}
