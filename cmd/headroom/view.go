package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/headroom-rpc/headroom/snapshot"
)

// figure prints a value in the unit of its resource, for people; always with one decimal where it is a
// percentage, so that a column of them is steady.
func figure(r snapshot.Resource, v float64) string {
	if r.Unit() == "ratio" {
		return strconv.FormatFloat(v*100, 'f', 1, 64) + "%"
	}
	return bound(r, v)
}

// bound prints what a value is compared with.
func bound(r snapshot.Resource, v float64) string {
	switch r.Unit() {
	case "ratio":
		return humanRatio(v)
	case "seconds":
		return humanDuration(time.Duration(v * float64(time.Second)))
	default:
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
}

func styleOf(s snapshot.State) lipgloss.Style {
	switch s {
	case snapshot.StateIdle:
		return styleIdle
	case snapshot.StateOverloaded:
		return styleOverloaded
	case snapshot.StateDisabled:
		return stylePlain
	default:
		return styleUnknown
	}
}

// header returns the first row of a table; a name that begins with '>' stands over a column that is
// aligned to the right.
func header(names ...string) []cell {
	row := make([]cell, len(names))
	for i, name := range names {
		text, right := strings.CutPrefix(name, ">")
		row[i] = cell{text, styleHead, right}
	}
	return row
}

// statusTable returns the judgement of each signal, a row a signal.
func statusTable(s *snapshot.Status) [][]cell {
	rows := [][]cell{header("SIGNAL", "STATE", ">TIME OVER", ">LIMIT", ">VALUE", ">BOUND", ">AGE")}
	for _, sig := range s.Signals {
		over, limit, value, most, age := "-", "-", "-", "-", "-"
		if sig.State == snapshot.StateIdle || sig.State == snapshot.StateOverloaded {
			over = humanRatio(sig.Actual)
		}
		if sig.State != snapshot.StateDisabled {
			limit = humanRatio(sig.Limit)
		}
		if sig.HasValue {
			value, most = figure(sig.Resource, sig.Value), bound(sig.Resource, sig.Bound)
			age = humanDuration(sig.Age)
		}
		rows = append(rows, []cell{
			{text: clean(sig.Signal)}, {text: sig.State.String(), style: styleOf(sig.State)},
			{text: over, right: true}, {text: limit, right: true},
			{text: value, right: true}, {text: most, right: true}, {text: age, right: true},
		})
	}
	return rows
}

// verdict says what the state is and what makes it so.
func verdict(s *snapshot.Status) string {
	text := s.State.String()
	for i, sig := range s.Binding() {
		separator := ", "
		if i == 0 {
			separator = ": "
		}
		text += fmt.Sprintf("%s%s %s > %s", separator, clean(sig.Signal), humanRatio(sig.Actual), humanRatio(sig.Limit))
	}
	return text
}

// reasons returns a line for each signal that is unknown or whose last reading failed.
func reasons(s *snapshot.Status) []string {
	var lines []string
	for _, sig := range s.Signals {
		if sig.Reason != "" {
			lines = append(lines, clean(sig.Signal)+": "+clean(sig.Reason))
		}
	}
	return lines
}

// The columns of watch; the verdict comes after them.
const (
	watchHeader = "TIME          CPU   MEMORY  EVENT LOOP  CLIENT  VERDICT"
	watchRow    = "%-8s  %s  %s  %s  %s  %s\n"
)

// watchLine returns one line of watch: the newest value of each built-in signal, with '!' after one that
// is overloaded and '?' for one that could not be read, and the verdict.
func watchLine(at time.Time, newest []snapshot.Snapshot, current *snapshot.Status) string {
	column := func(signal string, width int) string {
		text, style := "-", stylePlain
		for i := range newest {
			s := &newest[i]
			switch {
			case s.Signal != signal:
				continue
			case !s.Known():
				text, style = "?", styleUnknown
			case s.Overloaded:
				text, style = figure(s.Resource, s.Value)+"!", styleOverloaded
			default:
				text = figure(s.Resource, s.Value)
			}
		}
		return strings.Repeat(" ", max(0, width-lipgloss.Width(text))) + style.Render(text)
	}
	return fmt.Sprintf(watchRow, at.Local().Format(time.TimeOnly),
		column(snapshot.SignalCPU, 7), column(snapshot.SignalMemory, 7),
		column(snapshot.SignalEventLoop, 10), column(snapshot.SignalClient, 6),
		styleOf(current.State).Render(verdict(current)))
}

// sampleTable returns a row a snapshot.
func sampleTable(sample []snapshot.Snapshot) [][]cell {
	rows := [][]cell{header("TIME", "SIGNAL", "STATE", ">VALUE", ">LIMIT", "DETAIL")}
	for i := range sample {
		s := &sample[i]
		state, value, limit, detail := snapshot.StateIdle, "-", "-", s.Unknown
		switch {
		case !s.Known():
			state = snapshot.StateUnknown
		case s.Overloaded:
			state = snapshot.StateOverloaded
		}
		if s.Known() {
			value, limit, detail = figure(s.Resource, s.Value), bound(s.Resource, s.Limit), detailOf(s)
		}
		rows = append(rows, []cell{
			{text: s.Time.Local().Format("15:04:05.000")}, {text: clean(s.Signal)},
			{text: state.String(), style: styleOf(state)},
			{text: value, right: true}, {text: limit, right: true}, {text: clean(detail)},
		})
	}
	return rows
}

// detailOf says what stands behind the value of a snapshot.
func detailOf(s *snapshot.Snapshot) string {
	switch s.Resource {
	case snapshot.CPU:
		return cpuDetail(&s.CPU)
	case snapshot.Memory:
		return fmt.Sprintf("%s of %s", humanSize(s.Memory.Used), humanSize(s.Memory.Max))
	case snapshot.EventLoop:
		return "by " + s.EventLoop.Judged.String()
	case snapshot.Client:
		return fmt.Sprintf("%d in all", s.Client.Total)
	case snapshot.Pressure:
		text := "some " + humanRatio(s.Pressure.Some)
		if s.Pressure.FullKnown {
			text += ", full " + humanRatio(s.Pressure.Full)
		}
		return text
	default:
		return s.Source
	}
}

func cpuDetail(r *snapshot.CPUReading) string {
	text := "of " + coresText(r.Cores)
	if r.HostKnown {
		text += ", hottest " + humanWhole(r.Hottest)
	}
	if r.ThrottledKnown {
		text += ", throttled " + humanWhole(r.Throttled)
	}
	return text
}

func coresText(cores float64) string {
	text := strconv.FormatFloat(cores, 'f', -1, 64)
	if cores == 1 {
		return text + " core"
	}
	return text + " cores"
}

// humanWhole prints a ratio in whole percent, for people.
func humanWhole(v float64) string { return strconv.FormatFloat(v*100, 'f', 0, 64) + "%" }
