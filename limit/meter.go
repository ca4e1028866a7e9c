package limit

import "time"

// HostMeter makes windows of a host from readings that are taken about ten times a second. The zero value is ready.
// It allocates nothing, and is not safe for concurrent use.
type HostMeter struct {
	last  HostReading
	at    time.Duration // of last
	begun bool

	begin         time.Duration // of the window
	first         HostReading   // the last one of the window before
	queue         float64       // sum of the run queues, by seconds
	crowd, queued float64       // seconds of it over twice the cores, and all in which it is known
}

// HostReading is what is read of a host at one instant. What is not known is zero where there is no field that says
// so; see [Host].
type HostReading struct {
	// Cores is the capacity of the CPUs.
	Cores float64

	// CPU is the CPU time used by all since some instant, where CPUKnown is true.
	CPU      time.Duration
	CPUKnown bool

	// RunQueue is how many tasks run or wait for a CPU, where RunQueueKnown is true.
	RunQueue      float64
	RunQueueKnown bool

	// MemoryUsed is the memory in use, of MemoryTotal, in bytes.
	MemoryUsed, MemoryTotal int64

	// Stalled is the time since some instant in which some task waited for memory, where StalledKnown is true.
	Stalled      time.Duration
	StalledKnown bool

	// Kills counts the tasks that the kernel killed for want of memory, ever.
	Kills int64
}

// Read takes note of a reading, which stands for the time since the one before. now must not go back.
func (m *HostMeter) Read(now time.Duration, r HostReading) {
	if !m.begun {
		m.begun, m.begin, m.first = true, now, r
	} else if dt := (now - m.at).Seconds(); r.RunQueueKnown && dt > 0 {
		m.queue += r.RunQueue * dt
		m.queued += dt
		if r.Cores > 0 && r.RunQueue > 2*r.Cores {
			m.crowd += dt
		}
	}
	m.last, m.at = r, now
}

// Window returns what was seen since the last Window, up to the last reading, and how long that is: 0 before there
// were two readings.
func (m *HostMeter) Window() (Host, time.Duration) {
	r, span := &m.last, m.at-m.begin
	h := Host{Cores: r.Cores, MemoryUsed: r.MemoryUsed, MemoryTotal: r.MemoryTotal, Kills: r.Kills}
	if span > 0 {
		// A counter that fell began anew.
		if r.CPUKnown && m.first.CPUKnown && r.CPU >= m.first.CPU {
			h.Busy, h.BusyKnown = (r.CPU-m.first.CPU).Seconds()/span.Seconds(), true
		}
		if r.StalledKnown && m.first.StalledKnown && r.Stalled >= m.first.Stalled {
			h.Stalled, h.StalledKnown = min(1, (r.Stalled-m.first.Stalled).Seconds()/span.Seconds()), true
		}
	}
	if m.queued > 0 {
		h.RunQueue, h.Crowded, h.RunQueueKnown = m.queue/m.queued, m.crowd/m.queued, true
	}
	m.begin, m.first = m.at, m.last
	m.queue, m.crowd, m.queued = 0, 0, 0
	return h, span
}
