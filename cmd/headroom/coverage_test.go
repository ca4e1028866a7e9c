package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// TestEveryFieldHasASetting fails when a limit or an option of the Snapshotter is added that no setting
// holds.
func TestEveryFieldHasASetting(t *testing.T) {
	c := newServeSettings()
	held := map[any]bool{}
	for _, s := range c.table() {
		held[reflect.ValueOf(s.value).FieldByName("p").Pointer()] = true
	}
	notForServe := map[string]bool{ // given by the program itself
		"Scope": true, "Sources": true, "ClientErrors": true, "Reports": true, "Signals": true, "Clock": true, "Log": true,
		"Ticks": true,
	}
	for _, v := range []reflect.Value{reflect.ValueOf(&c.limits).Elem(), reflect.ValueOf(&c.snapshot).Elem()} {
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; !held[v.Field(i).Addr().Pointer()] && !notForServe[name] {
				t.Errorf("%s.%s has no setting", v.Type(), name)
			}
		}
	}
}

// TestRangesAreThoseOfTheSnapshotter gives each bounded setting its extremes, and what is just outside.
func TestRangesAreThoseOfTheSnapshotter(t *testing.T) {
	c := newServeSettings()
	c.snapshot.Sources = host.NewSources(snapshot.ScopeHost)
	for _, s := range append(c.snapshotSettings(), c.judgementSettings()...) {
		if s.name == "current-window" {
			continue // its end is history; see TestConflicts
		}
		words := strings.Fields(s.accepts)
		switch v := s.value.(type) {
		case typed[time.Duration]:
			checkRange(t, c, s, v.p, words[3], words[5], time.Nanosecond)
		case typed[int]:
			checkRange(t, c, s, v.p, words[4], words[6], 1)
		case typed[float64]:
			checkRange(t, c, s, v.p, "1e-9", "1", 1e-9)
		}
	}
}

// checkRange sets p to each end of a range and a step beyond it, and asks the Snapshotter's Config.
func checkRange[T int | float64 | time.Duration](t *testing.T, c *serveSettings, s setting, p *T, least, most string, step T) {
	t.Helper()
	before := *p
	defer func() { *p = before }()
	for _, end := range []struct {
		text    string
		outward T
	}{{least, -step}, {most, step}} {
		if err := s.value.Set(end.text); err != nil {
			t.Errorf("%s: Set(%s) = %v", s.name, end.text, err)
		}
		if refuses(c) {
			t.Errorf("%s: the Snapshotter refuses %s", s.name, end.text)
		}
		*p += end.outward
		if *p == 0 {
			continue // the default
		}
		if !refuses(c) {
			t.Errorf("%s: the Snapshotter accepts %v, the setting does not", s.name, *p)
		}
		if err := s.value.Set(s.value.String()); err == nil {
			t.Errorf("%s: the setting accepts %v", s.name, *p)
		}
	}
}

// refuses reports whether the Snapshotter refuses c for more than settings that do not go together.
func refuses(c *serveSettings) bool {
	_, err := snapshot.New(c.snapshot)
	if err == nil {
		return false
	}
	for line := range strings.Lines(err.Error()) {
		if !strings.Contains(line, "more than 4096 snapshots") {
			return true
		}
	}
	return false
}

// TestRangesAreThoseOfTheServer gives the server the extremes of each limit.
func TestRangesAreThoseOfTheServer(t *testing.T) {
	for i := range limitSettings(new(server.Limits)) {
		var l server.Limits
		s := limitSettings(&l)[i]
		words := strings.Fields(strings.NewReplacer("a whole number", "a number", "a size", "a number", "a duration", "a number").Replace(s.accepts))
		for _, text := range []string{words[3], words[5]} {
			if err := s.value.Set(text); err != nil {
				t.Errorf("%s: Set(%s) = %v", s.name, text, err)
			}
			if _, err := server.New(server.Config{Limits: l}); strings.Contains(err.Error(), "Limits: ") {
				t.Errorf("%s: the server refuses %s: %v", s.name, text, err)
			}
		}
	}
}
