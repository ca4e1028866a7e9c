package diagnostics

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The plot, in pixels.
const (
	plotWidth, plotHeight = 800, 400

	plotLeft, plotRight, plotTop, plotBottom = 70, 20, 30, 50

	// plotPoints bounds the points of a line: of more, each pixel shows the greatest.
	plotPoints = plotWidth - plotLeft - plotRight
)

// A plotLine is one line of the plot.
type plotLine struct {
	name, colour string
	value        func(*MemorySample) *int64
}

var plotLines = []plotLine{
	{"RSS", "#1f77b4", func(s *MemorySample) *int64 { return &s.RSS }},
	{"PSS", "#2ca02c", func(s *MemorySample) *int64 { return s.PSS }},
	{"cgroup", "#9467bd", func(s *MemorySample) *int64 { return s.Cgroup }},
	{"peak", "#d62728", func(s *MemorySample) *int64 { return s.Peak }},
}

// SVG returns a plot of the memory over time: a picture of its own, without script and without anything from
// elsewhere. title is shown above it.
func (l *MemoryLog) SVG(title string) []byte {
	end, most := time.Second, int64(mebibyte)
	for i := range l.Samples {
		s := &l.Samples[i]
		end = max(end, s.At)
		for _, line := range plotLines {
			if v := line.value(s); v != nil {
				most = max(most, *v)
			}
		}
	}
	x := scale{0, end.Seconds(), plotLeft, plotWidth - plotRight}
	y := scale{0, float64(most) / mebibyte, plotHeight - plotBottom, plotTop}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<text x="%d" y="20" font-size="14">%s</text>`+"\n", plotLeft, escapeXML(title))
	for _, v := range ticks(x.most) {
		fmt.Fprintf(&b, `<path d="M%.1f %dV%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x.at(v), plotTop, plotHeight-plotBottom, x.at(v), plotHeight-plotBottom+16, number(v))
	}
	for _, v := range ticks(y.most) {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			plotLeft, y.at(v), plotWidth-plotRight, plotLeft-6, y.at(v)+4, number(v))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">seconds</text>`+"\n", (plotLeft+plotWidth-plotRight)/2, plotHeight-12)
	fmt.Fprintf(&b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">MB</text>`+"\n", (plotTop+plotHeight-plotBottom)/2)
	key := plotWidth - plotRight
	for i := len(plotLines) - 1; i >= 0; i-- {
		line := plotLines[i]
		path := l.path(line, x, y)
		if path == "" {
			continue
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", path, line.colour)
		fmt.Fprintf(&b, `<text x="%d" y="20" text-anchor="end" fill="%s">%s</text>`+"\n", key, line.colour, line.name)
		key -= 60
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// path returns the way of a line, interrupted where the value is not known.
func (l *MemoryLog) path(line plotLine, x, y scale) string {
	var b strings.Builder
	per := max(1, (len(l.Samples)+plotPoints-1)/plotPoints)
	command := 'M'
	for i := 0; i < len(l.Samples); i += per {
		var best *MemorySample
		for j := i; j < min(i+per, len(l.Samples)); j++ {
			if v := line.value(&l.Samples[j]); v != nil && (best == nil || *v > *line.value(best)) {
				best = &l.Samples[j]
			}
		}
		if best == nil {
			command = 'M'
			continue
		}
		fmt.Fprintf(&b, "%c%.1f %.1f", command, x.at(best.At.Seconds()), y.at(float64(*line.value(best))/mebibyte))
		command = 'L'
	}
	return b.String()
}

// A scale maps values to pixels.
type scale struct{ least, most, from, to float64 }

func (s scale) at(v float64) float64 {
	return s.from + (v-s.least)/(s.most-s.least)*(s.to-s.from)
}

// ticks returns four to ten round numbers from 0 up to most.
func ticks(most float64) []float64 {
	step := math.Pow(10, math.Floor(math.Log10(most)))
	for _, part := range []float64{0.1, 0.2, 0.5} {
		if most/(step*part) <= 10 {
			step *= part
			break
		}
	}
	var all []float64
	for i := 0; float64(i)*step <= most && i <= 10; i++ {
		all = append(all, float64(i)*step)
	}
	return all
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

var xmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")

// escapeXML returns text that is nothing but text, without what XML cannot hold.
func escapeXML(text string) string {
	return xmlEscapes.Replace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "")))
}
