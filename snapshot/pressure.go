package snapshot

import (
	"context"
	"fmt"
)

// isPressure reports whether a signal of the name measures pressure.
func isPressure(name string) bool {
	return name == SignalPressureCPU || name == SignalPressureMemory || name == SignalPressureIO
}

// stalledResource returns the resource that a signal of pressure is about, as in [PressureReading].
func stalledResource(name string) Resource {
	switch name {
	case SignalPressureCPU:
		return CPU
	case SignalPressureMemory:
		return Memory
	default:
		return 0
	}
}

// maxPressure returns the limit on the pressure on a resource.
func (c *Config) maxPressure(stalled Resource) float64 {
	switch stalled {
	case CPU:
		return c.MaxCPUPressure
	case Memory:
		return c.MaxMemoryPressure
	default:
		return c.MaxIOPressure
	}
}

// pressureSampler judges the share of time lost to waiting for one resource.
type pressureSampler struct {
	read    func(context.Context, Resource) (PressureReading, error)
	stalled Resource
	limit   float64
}

func (p *pressureSampler) fetch(ctx context.Context, snap *Snapshot) (err error) {
	snap.Pressure, err = p.read(ctx, p.stalled)
	return err
}

func (p *pressureSampler) judge(snap *Snapshot) error {
	r := &snap.Pressure
	r.Stalled = p.stalled
	for _, share := range []float64{r.Some, r.Full} {
		if !isFinite(share) || share < 0 {
			return fmt.Errorf("%s gave a share of %v", sourceName(r.Source), share)
		}
	}
	snap.Value, snap.Limit = r.Some, p.limit
	if p.stalled == 0 && r.FullKnown {
		snap.Value = r.Full
	}
	snap.Overloaded = snap.Value > snap.Limit
	snap.Source = r.Source
	return nil
}
