package limit

import (
	"fmt"
	"runtime"

	"github.com/headroom-rpc/headroom/snapshot"
)

// useRatio is the share of the limit in use from which more would be used.
const useRatio = 0.9

// cores returns the CPU capacity by the newest reading, or else what the Go runtime sees.
func cores(newest []snapshot.Snapshot) float64 {
	for i := range newest {
		if s := &newest[i]; s.Resource == snapshot.CPU && s.Known() && s.CPU.Cores > 0 {
			return s.CPU.Cores
		}
	}
	return float64(runtime.NumCPU())
}

// overloaded says which signal is the furthest over its threshold.
func overloaded(current *snapshot.Status) string {
	binding := current.Binding()
	if len(binding) == 0 {
		return "overloaded"
	}
	b := &binding[0]
	return fmt.Sprintf("%s is overloaded: %.0f %% of the last %v, more than %.0f %%",
		b.Signal, 100*b.Actual, current.Window, 100*b.Limit)
}
