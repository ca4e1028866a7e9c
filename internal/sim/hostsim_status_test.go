package sim

import (
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// verdict is what one second is judged to be: over the limits that Crawlee and headroom have.
type verdict struct{ cpu, memory, client bool }

// verdicts are those of the last 30 s, one a second.
type verdicts []verdict

func (v *verdicts) add(newest verdict) {
	if *v = append(*v, newest); len(*v) > 30 {
		*v = (*v)[1:]
	}
}

// status judges the last of them by the usual thresholds.
func (v verdicts) status(window time.Duration) snapshot.Status {
	recent := v[max(0, len(v)-int(window/time.Second)):]
	s := snapshot.Status{Window: window, State: snapshot.StateIdle}
	for _, sig := range []struct {
		name     string
		resource snapshot.Resource
		limit    float64
		over     func(verdict) bool
	}{
		{snapshot.SignalCPU, snapshot.CPU, 0.4, func(v verdict) bool { return v.cpu }},
		{snapshot.SignalMemory, snapshot.Memory, 0.2, func(v verdict) bool { return v.memory }},
		{snapshot.SignalClient, snapshot.Client, 0.3, func(v verdict) bool { return v.client }},
	} {
		over := 0
		for _, v := range recent {
			if sig.over(v) {
				over++
			}
		}
		st := snapshot.SignalStatus{
			Signal: sig.name, Resource: sig.resource, State: snapshot.StateIdle, Limit: sig.limit, Count: len(recent),
		}
		if len(recent) > 0 {
			st.Actual = float64(over) / float64(len(recent))
		}
		if st.Actual > st.Limit {
			st.State, s.State = snapshot.StateOverloaded, snapshot.StateOverloaded
		}
		s.Signals = append(s.Signals, st)
	}
	return s
}
