//go:build !linux

package snapshot

func newKernelTicks() ticks { return nil }
