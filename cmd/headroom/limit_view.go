package main

import (
	"fmt"

	"github.com/headroom-rpc/headroom/snapshot"
)

// limitLines says, where it is known, which limits the CPU and the memory of the newest snapshots are judged
// against, a line each.
func limitLines(newest []snapshot.Snapshot) []string {
	var lines []string
	for i := range newest {
		s := &newest[i]
		switch {
		case !s.Known():
		case s.Resource == snapshot.CPU && s.CPU.Limit != "":
			lines = append(lines, clean(fmt.Sprintf("%s: of %s, %s", s.Signal, coresText(s.CPU.Cores), s.CPU.Limit)))
		case s.Resource == snapshot.Memory:
			lines = append(lines, memoryLimits(s)...)
		}
	}
	return lines
}

// memoryLimits says which limit the budget follows from, and which one has the least left where that is another.
func memoryLimits(s *snapshot.Snapshot) []string {
	m := &s.Memory
	var lines []string
	if m.Limit != "" {
		text := fmt.Sprintf("%s: %s of %s, %s", s.Signal, humanSize(m.Used), humanSize(m.Total), m.Limit)
		if m.Max != m.Total {
			text += "; budget " + humanSize(m.Max)
		}
		lines = append(lines, clean(text))
	}
	if t := &m.Tightest; t.Limit != "" && t.Limit != m.Limit {
		lines = append(lines, clean(fmt.Sprintf("%s: least left, %s of %s, %s", s.Signal, humanSize(t.Used), humanSize(t.Total), t.Limit)))
	}
	return lines
}

// A limitChanges tells when the limits that the CPU and the memory are judged against change.
type limitChanges map[string]string // by signal, what was told last

// next returns what the newest snapshots say of limits and was not told yet.
func (c limitChanges) next(newest []snapshot.Snapshot) []string {
	var fresh []string
	for i := range newest {
		s := &newest[i]
		text := ""
		switch {
		case s.Resource == snapshot.CPU && s.CPU.Limit != "":
			text = fmt.Sprintf("%s %s, %s", s.Signal, coresText(s.CPU.Cores), s.CPU.Limit)
		case s.Resource == snapshot.Memory && s.Memory.Limit != "":
			text = fmt.Sprintf("%s %s, %s", s.Signal, humanSize(s.Memory.Total), s.Memory.Limit)
		}
		if text != "" && text != c[s.Signal] {
			c[s.Signal] = text
			fresh = append(fresh, clean(text))
		}
	}
	return fresh
}
