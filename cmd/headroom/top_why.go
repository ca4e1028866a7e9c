package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// whyLines says what binds the load and the severity.
func (m *topModel) whyLines() []string {
	var lines []string
	if m.state.Stale {
		lines = append(lines, "as it was "+humanDuration(m.silence())+" ago:")
	}
	lines = append(lines, m.bindingLines()...)
	if m.severity.Severity.Level > 0 {
		s := m.presentSeverity()
		for _, e := range append(s.Evidence, s.Unknown...) {
			lines = append(lines, evidenceText(&e))
		}
	}
	return lines
}

// bindingLines returns a line for each signal that binds, or for the one that is nearest to.
func (m *topModel) bindingLines() []string {
	current := &m.state.Current
	var lines []string
	for _, s := range current.Binding() {
		lines = append(lines, fmt.Sprintf("%s; over %s of %s, limit %s", m.against(&s), humanRatio(s.Actual),
			humanDuration(current.Window), humanRatio(s.Limit)))
	}
	if len(lines) > 0 {
		return lines
	}
	if current.State == snapshot.StateUnknown {
		lines = reasons(current)
	}
	var nearest *snapshot.SignalStatus
	for i := range current.Signals {
		s := &current.Signals[i]
		if s.State == snapshot.StateIdle && nearness(s) >= 0 && (nearest == nil || nearness(s) > nearness(nearest)) {
			nearest = s
		}
	}
	if nearest != nil {
		lines = append(lines, "nothing; nearest is "+m.against(nearest))
	}
	return lines
}

// against says what a signal is, against what, and how old that is.
func (m *topModel) against(s *snapshot.SignalStatus) string {
	return fmt.Sprintf("%s %s, bound %s, %s old", clean(s.Signal), figure(s.Resource, s.Value), bound(s.Resource, s.Bound),
		humanDuration(m.age(s)))
}

// selectedLines explains the selected row.
func (m *topModel) selectedLines() []string {
	key := m.pane().current()
	switch {
	case key == "":
	case m.focus == permitPane && m.explained.key == key:
		return m.explained.lines
	case m.focus == taskPane:
		for i := range m.tasks.all {
			if m.tasks.all[i].Info.ID == key {
				return taskLines(&m.tasks.all[i])
			}
		}
	}
	return nil
}

// staleText says for how long nothing was heard and why.
func (m *topModel) staleText() string {
	text := "stale"
	if !m.state.Received.IsZero() {
		text += ", nothing for " + humanDuration(m.silence())
	}
	if m.state.Cause != nil {
		text += ": " + clean(callError(m.state.Cause).Error())
	}
	return text
}

// silence is for how long nothing was heard of the load, in whole seconds.
func (m *topModel) silence() time.Duration {
	return max(m.now.Sub(m.state.Received), 0).Round(time.Second)
}

// whyView returns the lines of the pane that says all about why.
func (m *topModel) whyView(width int) []string {
	var lines []string
	current := m.state.Current
	current.Signals = slices.Clone(current.Signals)
	for i := range current.Signals {
		current.Signals[i].Age = m.age(&current.Signals[i])
	}
	lines = append(lines, tableLines(statusTable(&current), width)...)
	lines = append(lines, reasons(&current)...)
	if s := m.presentSeverity(); m.severityErr == nil && s.InstanceID != "" {
		lines = append(lines, "")
		lines = append(lines, tableLines(severityTable(&s, m.now), width)...)
	}
	if selected := m.selectedLines(); len(selected) > 0 {
		lines = append(lines, "")
		for _, text := range selected {
			lines = append(lines, wrap(text, width)...)
		}
	}
	return lines
}

func tableLines(rows [][]cell, width int) []string {
	lines := strings.Split(strings.TrimSuffix(formatTable(rows), "\n"), "\n")
	for i := range lines {
		lines[i] = cut(lines[i], width)
	}
	return lines
}

// wrap breaks a text into lines of a width, at spaces where it can.
func wrap(text string, width int) []string {
	if lipgloss.Width(text) <= width {
		return []string{text}
	}
	return strings.Split(lipgloss.Wrap(text, max(width, 1), ""), "\n")
}

// presentSeverity returns the severity with what it rests on as old as that is by now.
func (m *topModel) presentSeverity() client.Severity {
	s := m.severity.Severity
	aged := func(list []severity.Evidence) []severity.Evidence {
		list = slices.Clone(list)
		for i := range list {
			list[i].Age += max(m.now.Sub(m.severity.Received), 0)
		}
		return list
	}
	s.Evidence, s.Unknown = aged(s.Evidence), aged(s.Unknown)
	return s
}

// whyPart returns what binds in at most so many lines, at least half of them for the row that is selected; 0 is no bound.
func (m *topModel) whyPart(width, most int) []string {
	width -= labelWidth
	var lines, selected []string
	for _, text := range m.whyLines() {
		lines = append(lines, wrap(text, width)...)
	}
	for _, text := range m.selectedLines() {
		selected = append(selected, wrap(text, width)...)
	}
	if most > 0 {
		selected = atMost(selected, max(most/2, most-len(lines)))
		lines = atMost(lines, most-len(selected))
	}
	lines = append(lines, selected...)
	for i := range lines {
		if i == 0 {
			lines[i] = label("why") + lines[i]
		} else {
			lines[i] = strings.Repeat(" ", labelWidth) + lines[i]
		}
	}
	return lines
}

// atMost cuts lines to so many, and marks that there are more.
func atMost(lines []string, most int) []string {
	if len(lines) <= most {
		return lines
	}
	lines = slices.Clone(lines[:max(most, 0)])
	if most > 0 {
		lines[most-1] += " …"
	}
	return lines
}
