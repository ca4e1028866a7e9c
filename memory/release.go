package memory

import (
	"runtime/debug"
	"runtime/metrics"
)

// ReleaseLevel is the severity level on whose entry [Release] is best called: the first one. Later there may
// be no time for a collection, and a program that waits for a lower level collects what nobody misses.
const ReleaseLevel = 1

// Release forces a garbage collection, returns as much memory to the operating system as it can, and returns
// by how many bytes the program's use fell; 0 if it grew meanwhile. It blocks for as long as a collection
// takes and costs its CPU time, so call it on entering a level, not while it lasts.
//
//	handlers.OnEntered(memory.ReleaseLevel, func(context.Context, severity.Event) error {
//		memory.Release()
//		return nil
//	})
func Release() (bytes int64) {
	before := inUse()
	debug.FreeOSMemory()
	return max(before-inUse(), 0)
}

// inUse returns the bytes that the Go runtime holds from the operating system.
func inUse() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	for _, s := range samples {
		if s.Value.Kind() != metrics.KindUint64 {
			return 0
		}
	}
	return int64(samples[0].Value.Uint64()) - int64(samples[1].Value.Uint64())
}
