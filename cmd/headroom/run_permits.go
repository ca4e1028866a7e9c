package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
)

// needs are the permits that a command needs: the value of a flag that may be given several times.
type needs struct {
	names  []string // in the order of the command line
	counts map[string]int64
}

// Set adds RESOURCE or RESOURCE=N.
func (n *needs) Set(text string) error {
	name, number, given := strings.Cut(text, "=")
	count := int64(1)
	if given {
		var err error
		if count, err = strconv.ParseInt(number, 10, 64); err != nil || count < 1 || count > permit.MaxLimit {
			return errNotAccepted
		}
	}
	if !resourceName.MatchString(name) {
		return hint("a name is " + acceptsResource)
	}
	if _, twice := n.counts[name]; twice {
		return hint(name + " was given before")
	}
	if len(n.names) == permit.MaxReports {
		return hint(fmt.Sprintf("at most %d resources", permit.MaxReports))
	}
	if n.counts == nil {
		n.counts = map[string]int64{}
	}
	n.names, n.counts[name] = append(n.names, name), count
	return nil
}

func (n *needs) String() string {
	entries := make([]string, len(n.names))
	for i, name := range n.names {
		entries[i] = name + "=" + strconv.FormatInt(n.counts[name], 10)
	}
	return strings.Join(entries, ",")
}

// Type returns the word that stands for the value in the help.
func (n *needs) Type() string { return "resource[=n]" }

// sorted returns the names in order.
func (n *needs) sorted() []string { return slices.Sorted(maps.Keys(n.counts)) }

// within says which of the needs the command around this one holds already, by its HEADROOM_PERMITS; "" for none.
func (n *needs) within(environment string) string {
	var held []string
	for entry := range strings.SplitSeq(environment, ",") {
		if name, _, _ := strings.Cut(entry, "="); n.counts[name] > 0 {
			held = append(held, clean(entry))
		}
	}
	if len(held) == 0 {
		return ""
	}
	return "; the command around this one holds " + strings.Join(held, ", ") + " meanwhile"
}

// A holding is the permits that a command runs under; there may be none.
type holding struct {
	permits map[string]*client.Permit
	lost    context.Context // done when one of them is lost, with a cause that names it
	stop    func()
}

// newHolding takes permits in the order of names.
func newHolding(permits []client.Permit, names []string) *holding {
	lost, cancel := context.WithCancelCause(context.Background())
	h := &holding{permits: map[string]*client.Permit{}, lost: lost}
	var stops []func() bool
	for i := range permits {
		p, name := &permits[i], names[i]
		h.permits[name] = p
		stops = append(stops, context.AfterFunc(p.Context(), func() {
			cause := context.Cause(p.Context())
			cancel(&described{name + ": " + strings.TrimPrefix(cause.Error(), "client: "), cause})
		}))
	}
	h.stop = func() {
		for _, stop := range stops {
			stop()
		}
		cancel(nil)
	}
	return h
}

// leaseLeft returns for how long all permits are leased if the server is not heard of from now on.
func (h *holding) leaseLeft() time.Duration {
	left := time.Duration(forever)
	for _, p := range h.permits {
		left = min(left, p.LeaseLeft())
	}
	return left
}

// release gives all permits back.
func (h *holding) release() {
	h.stop()
	for _, p := range h.permits {
		p.Release()
	}
}

// environment says to a command what is held for it. names are in the order of the command line.
func (h *holding) environment(names []string) []string {
	if len(h.permits) == 0 {
		return nil
	}
	counts, fences := map[string]int64{}, map[string]permit.Fence{}
	for name, p := range h.permits {
		counts[name], fences[name] = p.Count(), p.Fence()
	}
	return heldEnvironment(names, counts, fences)
}

func heldEnvironment(names []string, counts map[string]int64, fences map[string]permit.Fence) []string {
	held, orders := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		held[i] = name + "=" + strconv.FormatInt(counts[name], 10)
		orders[i] = name + "=" + fences[name].String()
	}
	return []string{
		"HEADROOM_PERMITS=" + strings.Join(held, ","),
		"HEADROOM_FENCE=" + fences[names[0]].String(),
		"HEADROOM_FENCES=" + strings.Join(orders, ","),
	}
}
