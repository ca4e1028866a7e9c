package diagnose

import (
	"fmt"
	"io"
	"runtime/trace"
	"sync"
	"time"
)

// flights shares the one flight recorder of the program among sessions.
var flights flightBroker

type flightBroker struct {
	mu       sync.Mutex
	recorder *trace.FlightRecorder
	shares   int
}

// flightShare is the part of one session.
type flightShare struct{ once sync.Once }

// join starts the recorder unless it runs.
func (b *flightBroker) join(age time.Duration, bytes uint64) (*flightShare, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shares == 0 {
		recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: age, MaxBytes: bytes})
		if err := recorder.Start(); err != nil {
			return nil, fmt.Errorf("diagnose: trace: %w", err)
		}
		b.recorder = recorder
	}
	b.shares++
	return &flightShare{}, nil
}

// dump writes what the recorder holds: of the whole program.
func (f *flightShare) dump(w io.Writer) error {
	flights.mu.Lock()
	defer flights.mu.Unlock()
	if _, err := flights.recorder.WriteTo(w); err != nil {
		return fmt.Errorf("diagnose: trace: %w", err)
	}
	return nil
}

// leave stops the recorder when nobody is left.
func (f *flightShare) leave() {
	f.once.Do(func() {
		flights.mu.Lock()
		defer flights.mu.Unlock()
		if flights.shares--; flights.shares == 0 {
			flights.recorder.Stop()
			flights.recorder = nil
		}
	})
}
