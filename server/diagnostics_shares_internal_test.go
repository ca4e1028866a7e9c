package server

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// One identity has a quarter of what may go on, and begins as many at once and a second; an operator has all.
func TestShares(t *testing.T) {
	now := time.Unix(0, 0)
	s := newShares("recordings", "MaxRecordings", 16, func() time.Time { return now })
	worker, operator := Identity{Name: "uid:1", Role: RoleWorker}, Identity{Name: "root", Role: RoleOperator}
	var exits []func()
	for _, step := range []struct {
		at       time.Duration
		id       Identity
		n        int  // that it tries to begin
		begun    int  // of those
		byRate   bool // why the next is refused
		exitAll  bool // before it
		everyone int  // going on afterwards
	}{
		{at: 0, id: worker, n: 6, begun: 4, everyone: 4},
		{at: 0, id: worker, n: 6, begun: 0, byRate: true, exitAll: true, everyone: 0},
		{at: 0, id: operator, n: 20, begun: 16, everyone: 16},
		{at: 250 * time.Millisecond, id: worker, n: 2, begun: 1, byRate: true, exitAll: true, everyone: 1},
		{at: 499 * time.Millisecond, id: worker, n: 1, begun: 0, byRate: true, everyone: 1},
		{at: 500 * time.Millisecond, id: worker, n: 2, begun: 1, byRate: true, everyone: 2},
		{at: time.Hour, id: worker, n: 9, begun: 4, exitAll: true, everyone: 4},
		{at: time.Hour, id: Identity{Name: "uid:2", Role: RoleWorker}, n: 9, begun: 4, everyone: 8},
	} {
		now = time.Unix(0, 0).Add(step.at)
		if step.exitAll {
			for _, exit := range exits {
				exit()
				exit()
			}
			exits = nil
		}
		begun := 0
		for range step.n {
			exit, err := s.enter(step.id)
			if err == nil {
				begun++
				exits = append(exits, exit)
				continue
			}
			var refused *recordingsError
			if !errors.As(err, &refused) || refused.rate != step.byRate {
				t.Errorf("at %v %s is refused with %v, want by rate %v", step.at, step.id.Name, err, step.byRate)
			}
		}
		if begun != step.begun || s.count() != step.everyone {
			t.Errorf("at %v %s begins %d and %d go on, want %d and %d", step.at, step.id.Name, begun, s.count(), step.begun, step.everyone)
		}
	}
	// Who comes and goes is forgotten.
	for i := range 1000 {
		now = now.Add(10 * time.Second)
		exit, err := s.enter(Identity{Name: fmt.Sprint(i), Role: RoleWorker})
		if err != nil {
			t.Fatal(err)
		}
		exit()
	}
	if len(s.of) > 4 {
		t.Errorf("%d identities are kept", len(s.of))
	}
}
