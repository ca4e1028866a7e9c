package server

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/diagnostics"
)

// The defaults of [DiagnosticsConfig].
const (
	DefaultMaxProfiles   = 1
	DefaultMaxSeverity   = 2
	DefaultMaxRecordings = 1024
	DefaultMaxTransfers  = 256
	DefaultURLTTL        = 5 * time.Minute
)

// DiagnosticsConfig says what may be recorded of tasks, and how long it is kept. The zero value records nothing.
type DiagnosticsConfig struct {
	// Allow names the recorders that tasks may ask for, and Always those that are recorded of every task that asks
	// for anything, at all times: see [diagnostics.Recorders]. Without any, diagnostics are off.
	Allow, Always []string

	// Dir is the directory of the artifacts. Required where anything is allowed.
	Dir string

	// TTL, FailedTTL, MaxBytes, MaxArtifactBytes and MaxArtifacts are those of [diagnostics.Config].
	TTL, FailedTTL             time.Duration
	MaxBytes, MaxArtifactBytes int64
	MaxArtifacts               int

	// MemoryInterval is the least time between two samples of a memory log, and that where a task asks for none,
	// from 100 ms to 1 h. The default is 2 s.
	MemoryInterval time.Duration

	// MaxProfiles bounds the processes that may be profiled at a time because they asked for it, from 1 to 1,000;
	// those in Always do not count. The default is 1.
	MaxProfiles int

	// MaxSeverity is the severity level from which on no profile begins that a task asks for, from 1 to 100. The
	// default is 2.
	MaxSeverity int

	// MaxRecordings bounds the recordings that go on, and MaxTransfers the uploads and downloads, each from 1 to
	// 100,000. One identity that is no operator has a quarter of them, and begins no more than that a second. The
	// defaults are 1,024 and 256.
	MaxRecordings, MaxTransfers int

	// URLTTL is how long a signed URL is good, from 10 s to 1 h. The default is 5 min.
	URLTTL time.Duration
}

// on reports whether anything is recorded.
func (c *DiagnosticsConfig) on() bool { return len(c.Allow)+len(c.Always) > 0 }

func (c DiagnosticsConfig) withDefaults() DiagnosticsConfig {
	c.MemoryInterval = cmp.Or(c.MemoryInterval, diagnostics.DefaultMemoryInterval)
	c.MaxArtifactBytes = cmp.Or(c.MaxArtifactBytes, diagnostics.DefaultMaxArtifactBytes)
	c.MaxProfiles = cmp.Or(c.MaxProfiles, DefaultMaxProfiles)
	c.MaxSeverity = cmp.Or(c.MaxSeverity, DefaultMaxSeverity)
	c.MaxRecordings = cmp.Or(c.MaxRecordings, DefaultMaxRecordings)
	c.MaxTransfers = cmp.Or(c.MaxTransfers, DefaultMaxTransfers)
	c.URLTTL = cmp.Or(c.URLTTL, DefaultURLTTL)
	return c
}

func (c DiagnosticsConfig) validate() error {
	var errs []error
	fault := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{field}, args...)...))
	}
	for _, list := range []struct {
		field string
		names []string
	}{{"Allow", c.Allow}, {"Always", c.Always}} {
		for _, name := range list.names {
			if _, ok := diagnostics.Lookup(name); !ok {
				fault(list.field, "there is no recorder %q", clip(name))
			}
		}
	}
	if c.on() && c.Dir == "" {
		fault("Dir", "none is given to keep artifacts in")
	}
	duration := func(field string, d, least, most time.Duration) {
		if d != 0 && (d < least || d > most) {
			fault(field, "%v is not from %v to %v", d, least, most)
		}
	}
	duration("TTL", c.TTL, time.Minute, 365*24*time.Hour)
	duration("FailedTTL", c.FailedTTL, time.Minute, 365*24*time.Hour)
	duration("MemoryInterval", c.MemoryInterval, 100*time.Millisecond, time.Hour)
	duration("URLTTL", c.URLTTL, 10*time.Second, time.Hour)
	count := func(field string, n, most int64) {
		if n < 0 || n > most {
			fault(field, "%d is not from 1 to %d", n, most)
		}
	}
	count("MaxBytes", c.MaxBytes, 1<<50)
	count("MaxArtifactBytes", c.MaxArtifactBytes, 1<<40)
	count("MaxArtifacts", int64(c.MaxArtifacts), 1_000_000)
	count("MaxProfiles", int64(c.MaxProfiles), 1000)
	count("MaxSeverity", int64(c.MaxSeverity), 100)
	count("MaxRecordings", int64(c.MaxRecordings), 100_000)
	count("MaxTransfers", int64(c.MaxTransfers), 100_000)
	return errors.Join(errs...)
}
