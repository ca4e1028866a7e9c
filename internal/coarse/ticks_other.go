//go:build !linux || !amd64

package coarse

import "time"

func ticks() uint64 { return 0 }

func counted(time.Time) bool { return false }
