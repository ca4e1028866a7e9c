//go:build !linux

package bench

func cpuNanos() int64 { return 0 }

func residentBytes() int64 { return 0 }
