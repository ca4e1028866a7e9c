//go:build aix || illumos || netbsd || solaris || (!unix && !windows)

package boottime

import "time"

func now() time.Duration { return monotonic() }
