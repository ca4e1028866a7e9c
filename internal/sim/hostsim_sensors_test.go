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
	counterError = 0.01 // CPU seconds in a reading, at one standard deviation and for one core
	memoryError  = 0.005
	windowLength = 1.0 // seconds
)

// sensors read a machine, with errors.
type sensors struct {
	m      *machine
	random *rand.Rand
	busy   float64   // newest reading; a counter never falls
	cpus   []float64 // of the pools
}

func newSensors(m *machine, seed uint64) *sensors {
	return &sensors{m: m, random: rand.New(rand.NewPCG(seed, 10))}
}

// wait returns the seconds until the next reading.
func (s *sensors) wait() float64 { return readEvery + readJitter*(2*s.random.Float64()-1) }

// host takes a reading of the host.
func (s *sensors) host() limit.HostReading {
	queue := s.m.runQueue()
	if s.random.Float64() < strayTasks {
		queue++
	}
	s.busy = max(s.busy, s.noisy(s.m.busy, s.m.cores))
	return limit.HostReading{
		Cores: s.m.cores, CPU: seconds(s.busy), CPUKnown: true,
		RunQueue: queue, RunQueueKnown: true,
		MemoryUsed: int64(s.m.used()), MemoryTotal: int64(s.m.memory),
		Stalled: seconds(s.m.stalled), StalledKnown: true,
		Kills: s.m.kills,
	}
}

// pool takes a reading of a pool.
func (s *sensors) pool(i int) limit.PoolReading {
	for len(s.cpus) <= i {
		s.cpus = append(s.cpus, 0)
	}
	p := s.m.pools[i]
	s.cpus[i] = max(s.cpus[i], s.noisy(p.cpu, 1))
	memory := p.memory.value(s.m.served, s.m.now) * (1 + memoryError*s.random.NormFloat64())
	return limit.PoolReading{
		CPU: seconds(s.cpus[i]), CPUKnown: true,
		Runnable: float64(p.runnable), RunnableKnown: true,
		Memory: int64(max(0, memory)), MemoryKnown: true,
	}
}

// noisy returns a counter of CPU seconds as it is read.
func (s *sensors) noisy(cpu, cores float64) float64 {
	if cpu == 0 {
		return 0
	}
	return cpu + counterError*math.Sqrt(cores)*s.random.NormFloat64()
}

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * 1e9)) }
