package limit

import (
	"math"
	"time"
)

// PoolMeter makes windows of a pool from what happens in it, and from readings that are taken about ten times a
// second. The zero value is ready. It allocates nothing, and is not safe for concurrent use.
type PoolMeter struct {
	leased int64
	at     time.Duration // of the last event
	begun  bool

	ages    ages
	aged    float64 // ages of those that run in seconds, by permits
	squares float64 // of the ages that all have reached, ever
	ended   float64 // permits that ended, ever
	took    float64 // permit-seconds of those that ended
	mean    float64 // duration of a task in seconds, once settled
	settled bool

	begin    time.Duration // of the window
	use      float64       // permit-seconds of it
	counts   Pool          // the counts of it
	last     PoolReading
	read     time.Duration // as of when last was
	reads    int           // ever
	first    PoolReading   // the last one of the window before
	since    time.Duration // when first was
	runnable float64       // sum of Runnable, by seconds
	ran      float64       // seconds in which it is known
	looks    int           // readings, old ones too
	means    Pool          // of the last window of which there was a reading, its CPU and Runnable only
}

// PoolReading is what is read of the tasks of a pool at one instant.
type PoolReading struct {
	// CPU is the CPU time that they have used since some instant, those that ended too, where CPUKnown is true.
	CPU      time.Duration
	CPUKnown bool

	// Runnable is how many of them run or wait for a CPU, where RunnableKnown is true.
	Runnable      float64
	RunnableKnown bool

	// Memory is what they use, in bytes, where MemoryKnown is true.
	Memory      int64
	MemoryKnown bool

	// Age is how long before the reading all that was so.
	Age time.Duration
}

// populations is how many tasks for each that runs must have ended before the mean of those that end is taken for the
// duration of a task: before, the short ones are over-represented among them.
const populations = 3

// readingLasts is how long the means of the last readings hold where those that follow are no newer: as long as a server takes
// what a worker reported for what it does.
const readingLasts = 3 * time.Second

// Start takes note that a task started with so many permits. now must not go back, in no call.
func (m *PoolMeter) Start(now time.Duration, permits int64) {
	m.advance(now)
	m.leased += permits
	m.counts.Started++
	m.ages.start(now, m.Duration()/64, permits)
}

// End takes note that a task ended that started then with so many permits, and whether it failed.
func (m *PoolMeter) End(now, started time.Duration, permits int64, failed bool) {
	m.advance(now)
	m.ages.end(started, permits)
	m.counts.Completed++
	if failed {
		m.counts.Failed++
	}
	m.ended += float64(permits)
	took := (now - started).Seconds()
	m.took += took * float64(permits)
	m.aged = max(0, m.aged-took*float64(permits))
	if n := max(10, populations*float64(m.leased)); m.settled {
		m.mean += min(1, float64(permits)/n) * (took - m.mean)
	} else if m.ended >= n {
		m.mean, m.settled = m.took/m.ended, true
	}
	m.leased -= permits
}

// Call takes note of calls to a target, of which so many were refused for too many requests.
func (m *PoolMeter) Call(calls, throttled int64) {
	m.counts.Calls += calls
	m.counts.Throttled += throttled
}

// Read takes note of a reading, which stands for the time since the one before.
func (m *PoolMeter) Read(now time.Duration, r PoolReading) {
	m.advance(now)
	m.looks++
	at := now - max(0, r.Age)
	if m.reads > 0 && at < m.read {
		return
	}
	if dt := (at - m.read).Seconds(); m.reads > 0 && r.RunnableKnown && dt > 0 {
		m.runnable += r.Runnable * dt
		m.ran += dt
	}
	if m.reads == 0 {
		m.first, m.since = r, at
	}
	m.last, m.read = r, at
	m.reads++
}

// advance integrates up to now.
func (m *PoolMeter) advance(now time.Duration) {
	if !m.begun {
		m.begun, m.begin, m.at = true, now, now
	}
	dt := (now - m.at).Seconds()
	held := float64(m.leased) * dt
	m.use += held
	m.squares += (2*m.aged + held) * dt
	m.aged += held
	m.at = now
}

// Duration returns how long a task is expected to take, and 0 before one ended. Once three populations have ended it
// is a moving average. Until then most that started have not ended, and those that did are the short ones: it is the most
// likely mean by the ages that all have reached, were a task the likelier to end the older it is, in proportion to its age.
func (m *PoolMeter) Duration() time.Duration {
	switch {
	case m.settled:
		return time.Duration(m.mean * float64(time.Second))
	case m.ended > 0:
		return time.Duration(math.Sqrt(math.Pi*m.squares/m.ended) / 2 * float64(time.Second))
	default:
		return 0
	}
}

// Grown returns the sum of [Growth] over the permits of the tasks that run.
func (m *PoolMeter) Grown(now time.Duration) float64 { return m.ages.grown(now, m.Duration()) }

// Window returns what was seen since the last Window. The caller adds ID, Weight, Min, Max, Capped, Waiting and
// Delayed.
func (m *PoolMeter) Window(now time.Duration) Pool {
	m.advance(now)
	p := m.counts
	p.Leased, p.InUse = m.leased, float64(m.leased)
	if span := (now - m.begin).Seconds(); span > 0 {
		p.InUse = m.use / span
	}
	r := &m.last
	switch span := (m.read - m.since).Seconds(); {
	case span > 0 || m.looks == 0: // else nothing new was to be read, and the means hold
		m.means = Pool{}
		if span > 0 && r.CPUKnown && m.first.CPUKnown && r.CPU >= m.first.CPU {
			m.means.CPU, m.means.CPUKnown = (r.CPU-m.first.CPU).Seconds()/span, true
		}
		if m.ran > 0 {
			m.means.Runnable, m.means.RunnableKnown = m.runnable/m.ran, true
		}
	case now-m.read > readingLasts:
		m.means = Pool{}
	}
	p.CPU, p.CPUKnown, p.Runnable, p.RunnableKnown = m.means.CPU, m.means.CPUKnown, m.means.Runnable, m.means.RunnableKnown
	p.Memory, p.MemoryKnown = r.Memory, r.MemoryKnown
	p.Duration, p.Grown = m.Duration(), m.Grown(now)
	m.begin, m.use, m.counts = now, 0, Pool{}
	m.first, m.since = m.last, m.read
	m.runnable, m.ran, m.looks = 0, 0, 0
	return p
}
