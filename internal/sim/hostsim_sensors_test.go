package sim

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// What the sensors of a real host were measured to be worth.
const (
	readEvery    = 0.1  // seconds, give or take
	readJitter   = 0.04 // seconds
	lateness     = 0.1  // seconds from the end of a window to the step that sees it
	strayTasks   = 0.25 // mean of the readers' own threads that are left in a reading of the run queue
	busyError    = 0.01 // cores per reading of a counter of a second, at one standard deviation
	memoryError  = 0.005
	windowLength = 1.0 // seconds
)

// sensors read a machine at 10 Hz, with jitter and errors, and make windows of the readings.
type sensors struct {
	m      *machine
	random *rand.Rand

	begin          float64 // of the window
	readings       int
	queue, crowded float64
	runnable       []float64 // of each pool, summed over the readings
	busy, stalled  float64   // at the begin of the window
	cpus           []float64
	used           float64 // newest reading of memory
}

func newSensors(m *machine, seed uint64) *sensors {
	return &sensors{m: m, random: rand.New(rand.NewPCG(seed, 10))}
}

// nextReading returns the seconds until it.
func (s *sensors) nextReading() float64 { return readEvery + readJitter*(2*s.random.Float64()-1) }

// read takes a reading.
func (s *sensors) read() {
	queue := s.m.runQueue()
	if s.random.Float64() < strayTasks {
		queue++
	}
	s.readings++
	s.queue += queue
	if queue > 2*s.m.cores {
		s.crowded++
	}
	s.grow()
	for i, p := range s.m.pools {
		s.runnable[i] += float64(p.runnable)
	}
	s.used = s.m.used()
}

func (s *sensors) grow() {
	for len(s.runnable) < len(s.m.pools) {
		s.runnable, s.cpus = append(s.runnable, 0), append(s.cpus, 0)
	}
}

// window closes a window and returns what was seen in it, of the host and of each pool: of those only what the
// host's sensors say.
func (s *sensors) window() (limit.Host, []limit.Pool) {
	s.grow()
	m, length := s.m, s.m.now-s.begin
	readings := float64(max(1, s.readings))
	host := limit.Host{
		Cores: m.cores,
		Busy:  s.measured((m.busy-s.busy)/length, m.cores), BusyKnown: true,
		RunQueue: s.queue / readings, Crowded: s.crowded / readings, RunQueueKnown: s.readings > 0,
		MemoryUsed: int64(s.used), MemoryTotal: int64(m.memory),
		Stalled: (m.stalled - s.stalled) / length, StalledKnown: true,
		Kills: m.kills,
	}
	pools := make([]limit.Pool, len(m.pools))
	for i, p := range m.pools {
		memory := p.memory.value(m.served, m.now) * (1 + memoryError*s.random.NormFloat64())
		pools[i] = limit.Pool{
			CPU: s.measured((p.cpu-s.cpus[i])/length, m.cores), CPUKnown: true,
			Runnable: s.runnable[i] / readings, RunnableKnown: s.readings > 0,
			Memory: int64(max(0, memory)), MemoryKnown: true,
		}
		s.cpus[i], s.runnable[i] = p.cpu, 0
	}
	s.begin, s.readings, s.queue, s.crowded, s.busy, s.stalled = m.now, 0, 0, 0, m.busy, m.stalled
	return host, pools
}

func (s *sensors) measured(cores, most float64) float64 {
	return min(max(0, cores+busyError*math.Sqrt(most)*s.random.NormFloat64()), most)
}

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * 1e9)) }
