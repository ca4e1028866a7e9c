package pool

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// The defaults of [Memory].
const (
	DefaultMemoryHigh     = 0.90
	DefaultMemoryCritical = 0.95
)

// Memory is the start gate on memory, which is looked at ten times a second while something runs. While it is shut no
// more tasks start than the minimum. Where the law says when it is shut, as twostation does by what is used and what
// the running tasks will still take, that counts; else it is shut while more than a share of the memory is used. The
// memory is that of [Options.Host]. Where the tasks are goroutines of this process, a shut gate has their garbage
// collected, at most twice a second: nothing else might ever do so.
type Memory struct {
	// High is the share of the memory over which nothing more starts where the law does not say, over 0 and up to 1.
	// The default is 0.90.
	High float64

	// Critical is the share over which tasks are cancelled where Shed is set and the law does not say, from High to 1.
	// The default is 0.95. The youngest end with [ErrShed], until what is left would be 2 % under it; where there is a
	// Usage, also when memory rises so fast that the next reading would be 2 % over it. One task is left to run.
	Critical float64
	Shed     bool

	// Off leaves the gate open. The crawlee profiles have none.
	Off bool
}

func (m Memory) withDefaults() Memory {
	setDefault(&m.High, DefaultMemoryHigh)
	if m.Critical == 0 {
		m.Critical = DefaultMemoryCritical
		if m.High > m.Critical && m.High <= 1 {
			m.Critical = m.High
		}
	}
	return m
}

func (m *Memory) validate() error {
	var errs []error
	least := m.High
	if !(m.High > 0 && m.High <= 1) {
		errs = append(errs, fmt.Errorf("Memory.High: %v: want over 0 and up to 1", m.High))
		least = 0
	}
	if !(m.Critical >= least && m.Critical <= 1) {
		errs = append(errs, fmt.Errorf("Memory.Critical: %v: want High to 1, %v to 1", m.Critical, least))
	}
	return errors.Join(errs...)
}

// shedBelow is how much under the critical share of the memory shedding ends.
const shedBelow = 0.02

// line returns the gate in force, where that of the law may be none and the total is 0 if it is not known.
func (m *Memory) line(law limit.Gate, total int64) limit.Gate {
	share := func(of float64) int64 { return int64(of * float64(total)) }
	switch {
	case m.Off:
		return limit.Gate{}
	case law.Line > 0 || total <= 0:
		return law
	}
	return limit.Gate{Line: share(m.High), Shed: share(m.Critical), ShedTo: share(m.Critical - shedBelow)}
}

// freeInterval is the least time between two forced collections.
const freeInterval = time.Second / 2

// freer has the garbage of ended tasks collected and given back: while nothing may start nothing allocates, so nothing
// else would do it.
type freer struct {
	at   time.Duration // when it may be done again
	busy atomic.Bool
	took atomic.Int64 // the last time, in ns
}

// spareShare is what part of the time may go into collections that are made before nothing may start.
const spareShare = 0.05

// free does it on a goroutine of its own, unless that was done a short time ago by the clock.
func (f *freer) free(now time.Duration, clock func() time.Duration) {
	how := freeMemory
	if now < f.at || !f.busy.CompareAndSwap(false, true) {
		return
	}
	f.at = now + freeInterval
	go func() {
		defer f.busy.Store(false)
		begun := clock()
		how()
		f.took.Store(int64(clock() - begun))
	}()
}

// spare is free for a law that finds memory short, while garbage may be what makes it so.
func (f *freer) spare(now time.Duration, clock func() time.Duration) {
	if now >= f.at+time.Duration(float64(f.took.Load())/spareShare) {
		f.free(now, clock)
	}
}

// freeMemory is replaced in tests.
var freeMemory = debug.FreeOSMemory
