package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/severity"
)

// styleOfLevel tells normal from the rest.
func styleOfLevel(level int) lipgloss.Style {
	if level == 0 {
		return styleIdle
	}
	return styleOverloaded
}

// severityTable returns what is known of the severity, a row a thing.
func severityTable(s *client.Severity, now time.Time) [][]cell {
	name := func(text string) cell { return cell{text: text, style: styleHead} }
	rows := [][]cell{{name("level"), {text: levelOf(s), style: styleOfLevel(s.Level)}}}
	add := func(what, text string) { rows = append(rows, []cell{name(what), {text: text}}) }
	if s.Level > 0 {
		var levels []string
		for level := s.Level; level > 0; level-- {
			levels = append(levels, strconv.Itoa(level))
		}
		add("in effect", strings.Join(levels, ", "))
	}
	if !s.Since.IsZero() {
		add("since", s.Since.Local().Format(time.DateTime)+", for "+humanDuration(max(now.Sub(s.Since), 0)))
	}
	for _, e := range s.Evidence {
		add("why", evidenceText(&e))
	}
	told := map[string]bool{} // one leaf may stand in what enters a level and in what leaves it
	for _, e := range s.Unknown {
		if text := evidenceText(&e); !told[text] {
			told[text] = true
			rows = append(rows, []cell{name("unknown"), {text: text, style: styleUnknown}})
		}
	}
	if s.HasFraction {
		add("next level", humanRatio(s.Fraction)+" of the way")
	}
	add("exhaustion", exhaustionText(s))
	return rows
}

func exhaustionText(s *client.Severity) string {
	unknown := func(e severity.Evidence) bool { return strings.HasPrefix(e.Text, "exhaustion_within(") }
	switch {
	case s.HasExhaustion:
		return "in " + humanDuration(s.Exhaustion)
	case slices.ContainsFunc(s.Unknown, unknown):
		return "unknown"
	default:
		return "not in sight"
	}
}

func levelOf(s *client.Severity) string {
	switch {
	case s.MaxLevel == 0:
		return "0, no levels are configured"
	case s.Level == 0:
		return fmt.Sprintf("0 of %d, normal", s.MaxLevel)
	default:
		return fmt.Sprintf("%d of %d", s.Level, s.MaxLevel)
	}
}

// transitionTable returns a row a transition.
func transitionTable(transitions []severity.Transition) [][]cell {
	rows := [][]cell{header("TIME", "LEVEL", "WHY")}
	for _, t := range transitions {
		rows = append(rows, []cell{
			{text: t.Time.Local().Format(time.DateTime)},
			{text: stepText(&t), style: styleOfLevel(t.To)},
			{text: evidenceList(t.Evidence)},
		})
	}
	return rows
}

func stepText(t *severity.Transition) string { return fmt.Sprintf("%d -> %d", t.From, t.To) }

// transitionLine returns a transition on one line.
func transitionLine(t *severity.Transition) string {
	return severityLine(t.Time, t.To, stepText(t), t.Evidence)
}

// levelLine returns the level on one line, as at the start and after a gap.
func levelLine(u *client.SeverityUpdate) string {
	text := levelOf(&u.Severity)
	if u.Gap != client.NoGap {
		text += ", transitions were missed: " + u.Gap.String()
	}
	return severityLine(u.Received, u.Severity.Level, text, u.Severity.Evidence)
}

func severityLine(at time.Time, level int, text string, evidence []severity.Evidence) string {
	line := at.Local().Format(time.TimeOnly) + "  " + styleOfLevel(level).Render("severity "+text)
	if len(evidence) > 0 {
		line += "  " + evidenceList(evidence)
	}
	return line
}

// evidenceList returns evidence for people.
func evidenceList(evidence []severity.Evidence) string {
	texts := make([]string, len(evidence))
	for i := range evidence {
		texts[i] = evidenceText(&evidence[i])
	}
	return strings.Join(texts, "; ")
}

// evidenceText says what a leaf of a condition found.
func evidenceText(e *severity.Evidence) string {
	switch {
	case e.Truth == severity.Unknown:
		return clean(unknownText(e))
	case !e.HasValue:
		return clean(e.Text)
	}
	value, most := inUnit(e.Value, e.Unit), inUnit(e.Bound, e.Unit)
	if strings.HasPrefix(e.Text, "any_overloaded(") || strings.HasPrefix(e.Text, "overloaded(") {
		value = "overloaded " + value + " of the time"
	}
	text := fmt.Sprintf("%s: %s %s%s, bound %s, %s old", e.Text, e.Signal, value, limitText(e), most, humanDuration(e.Age))
	return clean(text)
}

// unknownText says why a leaf is unknown, and of which signal where its text does not name it.
func unknownText(e *severity.Evidence) string {
	if strings.HasPrefix(e.Text, "any_overloaded(") && e.Signal != "" {
		return e.Text + ": " + e.Signal + ": " + e.Reason
	}
	return e.Text + ": " + e.Reason
}

// limitText says which limit a value is of, where that is known.
func limitText(e *severity.Evidence) string {
	if e.Limit == "" {
		return ""
	}
	of := "of"
	if e.Unit == "seconds" {
		of = "to"
	}
	return fmt.Sprintf(" %s %s (%s)", of, humanSize(e.LimitBytes), e.Limit)
}

// inUnit prints a number in the unit of an evidence.
func inUnit(v float64, unit string) string {
	const large = 1 << 62 // beyond it a number does not fit what prints the unit
	switch {
	case unit == "ratio":
		return humanRatio(v)
	case unit == "bytes" && v > -large && v < large:
		return humanSize(int64(v))
	case unit == "seconds" && v*float64(time.Second) > -large && v*float64(time.Second) < large:
		return humanDuration(time.Duration(v * float64(time.Second)))
	case unit == "":
		return strconv.FormatFloat(v, 'g', 4, 64)
	default:
		return strconv.FormatFloat(v, 'g', 4, 64) + " " + unit
	}
}
