package permit

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// MaxDuration bounds TTL and Grace.
const MaxDuration = time.Hour

var resourceName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// withDefaults returns c with its defaults in place of zeros, or every fault that it has.
func (c Config) withDefaults() (Config, error) {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&c.TTL, DefaultTTL)
	set(&c.Grace, DefaultGrace)
	set(&c.Heartbeat, DefaultHeartbeat)
	if c.MaxSessions == 0 {
		c.MaxSessions = 16_384
	}
	if c.MaxSessionsPerIdentity == 0 {
		c.MaxSessionsPerIdentity = 256
	}
	if c.ReportRate == 0 {
		c.ReportRate = 10_000
	}
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	between := func(name string, value, least, most int64) {
		if value < least || value > most {
			fault("%s: %d is not within %d to %d", name, value, least, most)
		}
	}
	if c.Epoch < 1 {
		fault("Epoch: %d is less than 1", c.Epoch)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"TTL", c.TTL}, {"Grace", c.Grace}, {"Heartbeat", c.Heartbeat}} {
		if d.value < time.Millisecond || d.value > MaxDuration {
			fault("%s: %v is not within 1ms to %v", d.name, d.value, MaxDuration)
		}
	}
	if c.Heartbeat > c.TTL/2 {
		fault("Heartbeat: %v is more than half of TTL, %v", c.Heartbeat, c.TTL)
	}
	between("MaxSessions", int64(c.MaxSessions), 1, 1_000_000)
	between("MaxSessionsPerIdentity", int64(c.MaxSessionsPerIdentity), 1, 1_000_000)
	between("ReportRate", int64(c.ReportRate), 1, 1_000_000)
	if c.NewSession == nil {
		fault("NewSession: it is nil")
	}
	names := make(map[string]bool)
	for i, r := range c.Resources {
		at := "Resources[" + strconv.Itoa(i) + "]"
		switch {
		case !resourceName.MatchString(r.Name):
			fault("%s.Name: %q does not match %s", at, r.Name, resourceName)
		case names[r.Name]:
			fault("%s.Name: %q is there twice", at, r.Name)
		}
		names[r.Name] = true
		between(at+".Limit", r.Limit, 0, MaxLimit)
		if !(r.FloorRatio >= 0 && r.FloorRatio <= 0.5) {
			fault("%s.FloorRatio: %v is not within 0 to 0.5", at, r.FloorRatio)
		}
		grant := func(at string, g Grant) {
			between(at+".Max", g.Max, 0, MaxLimit)
			between(at+".Weight", int64(g.Weight), 0, MaxWeight)
			between(at+".MaxPriority", int64(g.MaxPriority), MinPriority, MaxPriority)
			between(at+".MaxGuarantee", g.MaxGuarantee, 0, MaxLimit)
		}
		grant(at+".Default", r.Default)
		for name, g := range r.Grants {
			grant(at+".Grants["+name+"]", g)
		}
	}
	return c, errors.Join(errs...)
}
