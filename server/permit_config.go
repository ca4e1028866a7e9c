package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
)

// HostResource is the name of the resource that every server has: how much may run on this machine.
const HostResource = "host"

// PermitConfig says which permits a [Server] leases. Its zero value leases those of [HostResource] alone.
type PermitConfig struct {
	// Resources are those beside HostResource, with a limit that only SetLimit changes. Their Law is "fixed"
	// or empty. At most 256.
	Resources []permit.Resource

	// Host says who may lease permits of HostResource, and how its limit follows the load.
	Host HostPermits

	// StateDir is the directory of the journal that lets the next server know what this one may have
	// granted. It is made with mode 0700 if it does not exist; one server at a time can use it. Empty means no
	// journal: then every start charges each resource in full until TTL and Grace are over, but for what
	// workers state that come back.
	StateDir string

	// TTL is how long a worker that hears nothing may still start work, from 1 s to 5 min; Grace is how much
	// longer the server keeps its charge, from 100 ms to 5 min; Heartbeat is how often it must be heard, from
	// 100 ms to a third of TTL, and is stretched up to that as sessions grow in number beyond 500 for each second
	// of it. The defaults are 5 s, 2 s and 1 s.
	TTL, Grace, Heartbeat time.Duration

	// Clock is a clock that runs through suspend and never goes back. nil means that of the machine.
	Clock func() time.Duration
}

// HostPermits are the settings of [HostResource].
type HostPermits struct {
	// Law decides the limit about once a second, and what each session has of it. nil means
	// [limit.NewTwoStation] with its defaults. The Server uses it alone.
	Law limit.Law

	// Shadows are laws that decide beside Law and are not followed: what they would do is listed with the
	// resource, and among the metrics. The Server uses them alone. At most 8.
	Shadows []limit.Law

	// Default, Grants and FloorRatio are those of [permit.Resource].
	Default    permit.Grant
	Grants     map[string]permit.Grant
	FloorRatio float64

	// Severity says what severity levels do to the limit. Of the rules whose level is in effect, the lowest cap
	// holds, and cancel goes before drain. At most 256.
	Severity []SeverityRule
}

// A SeverityAction is what a severity level does to permits of [HostResource].
type SeverityAction uint8

// The actions.
const (
	SeverityCap    SeverityAction = iota + 1 // bounds the limit
	SeverityDrain                            // no new work starts
	SeverityCancel                           // and what runs is cancelled after a time
)

// String returns "cap", "drain" or "cancel", or SeverityAction(N).
func (a SeverityAction) String() string {
	switch a {
	case SeverityCap:
		return "cap"
	case SeverityDrain:
		return "drain"
	case SeverityCancel:
		return "cancel"
	default:
		return fmt.Sprintf("SeverityAction(%d)", uint8(a))
	}
}

// SeverityRule is what holds while a severity level is in effect.
type SeverityRule struct {
	// Level is the severity level, at least 1.
	Level int

	// Action is what it does.
	Action SeverityAction

	// Limit is the greatest limit, at least 1, and Ratio the greatest share of what the law says, in (0, 1],
	// of which one permit is always left. With SeverityCap exactly one of them is set; else none is.
	Limit int64
	Ratio float64

	// CancelAfter is how long work has to end by itself, from 0 to 1 h. With SeverityCancel only.
	CancelAfter time.Duration
}

// The bounds of a PermitConfig.
const (
	maxResources     = 256
	maxSeverityRules = 256
	maxShadows       = 8
	maxCancelAfter   = time.Hour
)

// withDefaults returns c with the defaults of its times filled in.
func (c PermitConfig) withDefaults() PermitConfig {
	if c.TTL == 0 {
		c.TTL = permit.DefaultTTL
	}
	if c.Grace == 0 {
		c.Grace = permit.DefaultGrace
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = min(permit.DefaultHeartbeat, c.TTL/3)
	}
	return c
}

// validate reports every fault of c but those that the ledger finds.
func (c PermitConfig) validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if n := len(c.Resources); n > maxResources {
		fault("Resources: %d are more than %d", n, maxResources)
	}
	for i, r := range c.Resources {
		if r.Name == HostResource {
			fault("Resources[%d]: %q is there by itself: set Host", i, HostResource)
		}
		if r.Law != "" && r.Law != fixedLaw {
			fault("Resources[%d]: Law: %q is not %q", i, r.Law, fixedLaw)
		}
	}
	set := c.withDefaults()
	for _, d := range []struct {
		name               string
		value, least, most time.Duration
	}{
		{"TTL", set.TTL, time.Second, 5 * time.Minute},
		{"Grace", set.Grace, 100 * time.Millisecond, 5 * time.Minute},
		{"Heartbeat", set.Heartbeat, 100 * time.Millisecond, max(set.TTL/3, 100*time.Millisecond)},
	} {
		if d.value < d.least || d.value > d.most {
			fault("%s: %v is not from %v to %v", d.name, d.value, d.least, d.most)
		}
	}
	if n := len(c.Host.Severity); n > maxSeverityRules {
		fault("Host.Severity: %d are more than %d", n, maxSeverityRules)
	}
	if n := len(c.Host.Shadows); n > maxShadows {
		fault("Host.Shadows: %d are more than %d", n, maxShadows)
	}
	for i, r := range c.Host.Severity {
		if err := r.validate(); err != nil {
			fault("Host.Severity[%d]: %w", i, err)
		}
	}
	return errors.Join(errs...)
}

// fixedLaw is the law of a limit that follows nothing.
const fixedLaw = "fixed"

func (r SeverityRule) validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.Level < 1 {
		fault("Level: %d is less than 1", r.Level)
	}
	switch {
	case r.Action < SeverityCap || r.Action > SeverityCancel:
		fault("Action: %v is not one of cap, drain and cancel", r.Action)
	case r.Action != SeverityCap && (r.Limit != 0 || r.Ratio != 0):
		fault("Limit and Ratio: they are for cap, not for %v", r.Action)
	case r.Action == SeverityCap && (r.Limit != 0) == (r.Ratio != 0):
		fault("Limit and Ratio: cap needs exactly one of them, got %d and %v", r.Limit, r.Ratio)
	}
	if r.Limit < 0 || r.Limit > permit.MaxLimit {
		fault("Limit: %d is not from 1 to %d", r.Limit, permit.MaxLimit)
	}
	if !(r.Ratio >= 0 && r.Ratio <= 1) { // not a number is neither
		fault("Ratio: %v is not over 0 and at most 1", r.Ratio)
	}
	if r.CancelAfter != 0 && r.Action != SeverityCancel {
		fault("CancelAfter: it is for cancel, not for %v", r.Action)
	}
	if r.CancelAfter < 0 || r.CancelAfter > maxCancelAfter {
		fault("CancelAfter: %v is not from 0s to %v", r.CancelAfter, maxCancelAfter)
	}
	return errors.Join(errs...)
}
