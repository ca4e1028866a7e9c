//go:build !windows

package boottime

import "time"

// started is where the fallback clock begins.
var started = time.Now()

// monotonic is the clock where there is no better one.
func monotonic() time.Duration { return time.Since(started) }
