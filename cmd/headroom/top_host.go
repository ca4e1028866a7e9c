package main

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/headroom-rpc/headroom/snapshot"
)

// labelWidth is how wide the names at the left edge are.
const labelWidth = 11

// hostLines returns a line for each signal, at most so many of them. Where there are more, pressure is one line and the
// last one counts what is left out; 0 is no bound.
func (m *topModel) hostLines(width, most int) []string {
	signals := m.state.Current.Signals
	if most > 0 && len(signals) > most {
		signals = withOnePressure(signals)
	}
	left := 0
	if most > 0 && len(signals) > most {
		left = len(signals) - most
		signals = signals[:most]
	}
	var lines []string
	for i := range signals {
		line := m.signalLine(&signals[i], width)
		if left > 0 && i == len(signals)-1 {
			more := fmt.Sprintf("  +%d", left)
			line = cut(line, width-len(more))
			line += strings.Repeat(" ", max(0, width-len(more)-lipgloss.Width(line))) + more
		}
		lines = append(lines, line)
	}
	return lines
}

// withOnePressure returns the signals with one of those of pressure: the one that is nearest to its bound.
func withOnePressure(signals []snapshot.SignalStatus) []snapshot.SignalStatus {
	var kept []snapshot.SignalStatus
	at := -1
	for _, s := range signals {
		switch {
		case s.Resource != snapshot.Pressure:
			kept = append(kept, s)
		case at < 0:
			at = len(kept)
			kept = append(kept, s)
		case nearness(&s) > nearness(&kept[at]):
			kept[at] = s
		}
	}
	return kept
}

// nearness says how near a signal is to its bound: 1 is at it. What is not known is far.
func nearness(s *snapshot.SignalStatus) float64 {
	if !s.HasValue || !(s.Bound > 0) {
		return -1
	}
	return s.Value / s.Bound
}

// signalLine returns a signal on one line: the newest value with '!' where it is over its bound and '?' where it could
// not be read, the last minute, and what stands behind it.
func (m *topModel) signalLine(s *snapshot.SignalStatus, width int) string {
	value, mark, style := "-", " ", stylePlain
	reading := m.reading(s.Signal)
	if s.HasValue {
		value = figure(s.Resource, s.Value)
	}
	switch {
	case s.State == snapshot.StateDisabled:
	case m.state.Stale || reading != nil && !reading.Known() || s.State == snapshot.StateUnknown:
		mark, style = "?", styleUnknown
	case reading != nil && reading.Overloaded:
		mark, style = "!", styleOverloaded
	}
	cells := sparkWidth(width)
	full := 1.0
	if s.Resource.Unit() != "ratio" {
		full = s.Bound
	}
	name := cut(shortSignal.Replace(clean(s.Signal)), labelWidth-1)
	value = cut(value, 8)
	return label(name) + strings.Repeat(" ", 8-lipgloss.Width(value)) + style.Render(value+mark) + " " +
		spark(m.traces[s.Signal], m.clock, cells, full) + " " + cut(signalDetail(s, reading), width-labelWidth-11-cells)
}

// shortSignal shortens names to the width of a label. Pressure is pressure stall information.
var shortSignal = strings.NewReplacer("pressure_", "psi ", "_", " ")

// sparkWidth is how many cells a sparkline has: one for each second, or two, three or four.
func sparkWidth(width int) int {
	for _, cells := range []int{60, 30, 20} {
		if width >= labelWidth+11+cells+28 {
			return cells
		}
	}
	return 15
}

func label(name string) string {
	return styleHead.Render(name) + strings.Repeat(" ", max(1, labelWidth-lipgloss.Width(name)))
}

// reading returns the newest snapshot of a signal, or nil.
func (m *topModel) reading(signal string) *snapshot.Snapshot {
	for i := range m.state.Snapshots {
		if m.state.Snapshots[i].Signal == signal {
			return &m.state.Snapshots[i]
		}
	}
	return nil
}

// signalDetail says what a value is compared with and what stands behind it, or why there is none.
func signalDetail(s *snapshot.SignalStatus, reading *snapshot.Snapshot) string {
	switch {
	case s.State == snapshot.StateDisabled:
		return "disabled"
	case s.Reason != "":
		return clean(s.Reason)
	case !s.HasValue:
		return ""
	}
	text := "bound " + bound(s.Resource, s.Bound)
	if reading != nil && reading.Known() {
		if detail := clean(detailOf(reading)); detail != "" {
			text += ", " + detail
		}
	}
	return text
}

// age returns how old the newest known reading of a signal is by now.
func (m *topModel) age(s *snapshot.SignalStatus) time.Duration {
	return max(s.Age+m.now.Sub(m.state.Received), 0)
}
