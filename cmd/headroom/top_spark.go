package main

import (
	"math"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/headroom-rpc/headroom/snapshot"
)

// sparkSpan is how far back a sparkline looks.
const sparkSpan = time.Minute

// A trace is what a signal was over the last minute, oldest first.
type trace []tracePoint

type tracePoint struct {
	at    time.Duration // by the clock of the client
	value float64
	over  bool
}

// traces are the traces of signals by their names.
type traces map[string]trace

// add takes up readings, of each signal in the order of time, and drops what is older than the span at the time now.
func (t traces) add(readings []snapshot.Snapshot, now time.Duration) {
	for i := range readings {
		s := &readings[i]
		points := t[s.Signal]
		if !s.Known() || len(points) > 0 && s.At <= points[len(points)-1].at {
			continue
		}
		t[s.Signal] = append(points, tracePoint{s.At, s.Value, s.Overloaded})
	}
	for signal, points := range t {
		old := 0
		for old < len(points) && points[old].at < now-sparkSpan {
			old++
		}
		if old == len(points) {
			delete(t, signal)
		} else {
			t[signal] = append(trace(nil), points[old:]...)
		}
	}
}

// sparkCells are the heights of a cell, the lowest first.
var sparkCells = []rune("▁▂▃▄▅▆▇█")

// spark draws a trace up to the time now in as many cells: each is as high as the highest value of its part of the
// minute, against full at least, and stands out where a reading was over its bound. A part without a reading is blank.
func spark(points trace, now time.Duration, cells int, full float64) string {
	if cells < 1 {
		return ""
	}
	for _, p := range points {
		if p.value > full && !math.IsInf(p.value, 1) {
			full = p.value
		}
	}
	step := sparkSpan / time.Duration(cells)
	end := now/step*step + step // the parts stay where they are between two drawings
	text := []rune(strings.Repeat(" ", cells))
	over := make([]bool, cells)
	highest := make([]float64, cells)
	for _, p := range points {
		i := cells - 1 - int((end-p.at-1)/step)
		if p.at >= end {
			i = cells - 1
		}
		if i < 0 {
			continue
		}
		over[i] = over[i] || p.over
		if text[i] == ' ' || p.value > highest[i] {
			highest[i], text[i] = p.value, sparkCell(p.value/full)
		}
	}
	var b strings.Builder
	for i := 0; i < cells; {
		j := i + 1
		for j < cells && over[j] == over[i] {
			j++
		}
		style := lipgloss.NewStyle()
		if over[i] {
			style = styleOverloaded
		}
		b.WriteString(style.Render(string(text[i:j])))
		i = j
	}
	return b.String()
}

func sparkCell(share float64) rune {
	most := float64(len(sparkCells))
	if !(share > 0) { // NaN too
		return sparkCells[0]
	}
	return sparkCells[int(min(share*most, most-1))]
}
