package severity

import (
	"context"
	"errors"
	"fmt"
	"weak"
)

// Cleaner is an object that can give up memory.
type Cleaner interface {
	// Cleanup gives up what can be made again. It must be safe for concurrent use with the object's other
	// methods.
	Cleanup()
}

// cleanupGroup are the clean-ups of one level, in the order of registration.
type cleanupGroup struct {
	of      []*Registration
	pruneAt int // look for garbage when there are so many
}

// CleanUp has collect called with the object whenever the level is entered, after the handlers of "entered".
// The object is referred to weakly: once it is garbage, so is the registration. So collect must not refer to
// the object but through its argument. If it is nil, the object must be a [Cleaner] and its Cleanup is
// called.
func CleanUp[T any](h *Handlers, level int, object *T, collect func(*T)) (*Registration, error) {
	switch {
	case level < 0:
		return nil, fmt.Errorf("severity: level %d is negative", level)
	case object == nil:
		return nil, errors.New("severity: object to clean up is nil")
	}
	if collect == nil {
		if _, ok := any(object).(Cleaner); !ok {
			return nil, fmt.Errorf("severity: %T has no method Cleanup, and no function was given", object)
		}
		collect = func(object *T) { any(object).(Cleaner).Cleanup() }
	}
	ref := weak.Make(object)
	r := &Registration{of: h, kind: Entered, level: level, call: func(context.Context, Event) error {
		if object := ref.Value(); object != nil {
			collect(object)
		}
		return nil
	}}
	r.alive = func() bool { return ref.Value() != nil }
	return h.addCleanup(r)
}

func (h *Handlers) addCleanup(r *Registration) (*Registration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.cleanups[r.level]
	if g == nil {
		g = &cleanupGroup{}
		h.cleanups[r.level] = g
	}
	// Looking over all of them each time their number has doubled costs each registration a constant.
	if len(g.of) >= max(g.pruneAt, 64) {
		h.count -= g.prune()
	}
	if err := h.admitLocked(); err != nil {
		return nil, err
	}
	g.of = append(g.of, r)
	return r, nil
}

// prune removes those whose object is garbage and returns how many they were.
func (g *cleanupGroup) prune() (removed int) {
	kept := make([]*Registration, 0, len(g.of))
	for _, r := range g.of {
		if r.alive() {
			kept = append(kept, r)
		} else {
			r.cancelled = true
		}
	}
	removed = len(g.of) - len(kept)
	g.of, g.pruneAt = kept, 2*len(kept)
	return removed
}
