package sim

import (
	"fmt"
	"slices"

	"github.com/headroom-rpc/headroom/permit"
)

// over notes that a session has ended whose charge is to be back at once.
func (s *simServer) over(ss *simSession) {
	w := s.world
	ss.over = true
	for _, other := range s.sessions {
		if other != ss && other.worker == ss.worker && !other.over {
			return
		}
	}
	w.observe(event{kind: gaveUp, worker: ss.worker.index, until: w.now})
}

// grant shows the checker the targets that leave.
func (s *simServer) grant(ss *simSession, targets []permit.Target) {
	w := s.world
	for _, t := range targets {
		i := w.index(t.Resource)
		if t.Target > ss.targets[i] {
			w.load.grants++
		}
		ss.versions[i], ss.targets[i] = t.Version, t.Target
		if ss.worker.liar {
			continue
		}
		w.observe(event{kind: granted, worker: ss.worker.index, resource: i, n: t.Version, m: t.Target,
			fence: permit.Fence{Epoch: s.epoch, Counter: t.Fence}})
	}
}

func (w *world) index(resource string) int {
	return slices.IndexFunc(w.resources, func(r *simResource) bool { return r.name == resource })
}

func (s *simServer) account() {
	w := s.world
	for i, r := range w.resources {
		a, err := s.ledger.Account(s.local(), r.name)
		if err != nil {
			w.err = fmt.Errorf("account of %s: %w", r.name, err)
			return
		}
		w.observe(event{kind: account, resource: i, n: a.Charge, m: a.Unknown})
	}
}

// audit compares every session, and lets the ledger check itself.
func (s *simServer) audit() {
	w := s.world
	if !s.up || w.err != nil {
		return
	}
	if err := s.ledger.Check(); err != nil {
		w.err = fmt.Errorf("the ledger's own check: %w", err)
		return
	}
	for _, ss := range s.sessions {
		ss.seen = false
	}
	charges := make([]int64, len(w.workers)*len(w.resources))
	for _, a := range s.ledger.Sessions(s.local(), nil) {
		ss := s.byName[a.Name]
		if ss == nil {
			continue
		}
		ss.seen = true
		for _, share := range a.Shares {
			charges[ss.worker.index*len(w.resources)+w.index(share.Resource)] += share.Charge
		}
	}
	for _, ss := range s.sessions {
		if !ss.seen && !ss.over {
			s.expire(ss)
		}
	}
	s.sessions = slices.DeleteFunc(s.sessions, func(ss *simSession) bool {
		if !ss.seen {
			delete(s.byID, ss.id)
			delete(s.byName, ss.name)
		}
		return !ss.seen
	})
	for _, sw := range w.workers {
		gone := sw.state == dead || sw.leaving
		if sw.liar || gone && s.paused || !gone && sw.attachedIn != s.epoch {
			continue
		}
		for i := range w.resources {
			n := charges[sw.index*len(w.resources)+i]
			if n != 0 || sw.charged[i] != 0 {
				sw.charged[i] = n
				w.observe(event{kind: share, worker: sw.index, resource: i, n: n})
			}
		}
	}
}

// expire notes that the ledger ended a session by itself.
func (s *simServer) expire(ss *simSession) {
	w := s.world
	ss.over = true
	w.load.expired++
	w.tell("session of worker %d is over", ss.worker.index)
	for _, other := range s.sessions {
		if other != ss && other.worker == ss.worker && !other.over {
			return
		}
	}
	w.observe(event{kind: gaveUp, worker: ss.worker.index})
}

// guarantees returns what is guaranteed of a resource to each worker, to each identity, and to all.
func (s *simServer) guarantees(resource string) (each map[int]int64, identities map[string]int64, all int64) {
	each, identities = make(map[int]int64), make(map[string]int64)
	for _, a := range s.ledger.Sessions(s.local(), nil) {
		for _, share := range a.Shares {
			if share.Resource == resource {
				each[a.Party.PID-1] += share.Guarantee
				identities[a.Party.Identity] += share.Guarantee
				all += share.Guarantee
			}
		}
	}
	return each, identities, all
}

// look tells the checker what a worker is charged for as it starts something: at times, and always where it is
// more than the checker knows of.
func (s *simServer) look(sw *simWorker, u *simUse) {
	w := s.world
	if !s.up || u.gate.Held() <= sw.charged[u.resource] && !w.chance(20) {
		return
	}
	charges := make([]int64, len(w.resources))
	found, any := false, false
	for _, ss := range s.sessions {
		any = any || ss.worker == sw && !ss.over
	}
	if !any {
		return // it has not come back in this life, or was given up
	}
	for _, a := range s.ledger.Sessions(s.local(), func(p permit.Party) bool { return p.PID == sw.party.PID }) {
		found = true
		for _, share := range a.Shares {
			charges[w.index(share.Resource)] += share.Charge
		}
	}
	if !found {
		s.audit()
		return
	}
	for i, n := range charges {
		sw.charged[i] = n
		w.observe(event{kind: share, worker: sw.index, resource: i, n: n})
	}
}

// print adds what the ledger says of every session to the trace.
func (s *simServer) print() {
	if !s.up || s.world.trace == nil {
		return
	}
	for _, a := range s.ledger.Sessions(s.local(), nil) {
		for _, share := range a.Shares {
			s.world.tell("worker %d of %s, state %d: %+v", a.Party.PID-1, a.Party.Identity, a.State, share)
		}
	}
}
