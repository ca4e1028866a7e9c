package main

import (
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// View returns the screen.
func (m *topModel) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	return v
}

// lines returns the screen in lines, as many as it is high; with a height of 0 as many as there is to say.
func (m *topModel) lines() []string {
	if m.width < 1 || m.height < 0 {
		return nil
	}
	lines := []string{m.title()}
	body := m.height - 2 // without the title and the foot
	switch {
	case !m.heard:
		lines = append(lines, m.waiting())
	case m.help:
		lines = append(lines, fitting(helpLines(), body)...)
	case m.why:
		lines = append(lines, fitting(m.whyView(m.width), body)...)
	default:
		lines = append(lines, m.body(body)...)
	}
	if m.height == 0 {
		return lines
	}
	lines = append(lines, make([]string, max(0, m.height-1-len(lines)))...)
	lines = append(lines[:max(0, min(len(lines), m.height-1))], m.foot())
	for i := range lines {
		lines[i] = cut(lines[i], m.width)
	}
	return lines
}

func (m *topModel) waiting() string {
	if m.state.Cause != nil {
		return styleUnknown.Render(m.staleText())
	}
	return "not heard yet"
}

// title names the verdict, the version of the server and the time.
func (m *topModel) title() string {
	left := styleHead.Render("headroom") + "  "
	room := m.width - lipgloss.Width(left)
	right := clean(m.version)
	if !m.now.IsZero() {
		right += "  " + m.now.Local().Format(time.TimeOnly)
	}
	room -= lipgloss.Width(right) + 2
	var text string
	switch style := styleOf(m.state.Current.State); {
	case m.state.Stale:
		text = styleUnknown.Render(cut(m.staleText(), room))
	case m.heard:
		text = style.Render(cut(verdict(&m.state.Current), room))
	}
	return left + text + strings.Repeat(" ", max(2, room+2-lipgloss.Width(text))) + right
}

// The heights from which there is room for more.
const (
	bothHeight = 20 // for both tables
	wideHeight = 34 // for a line for each kind of pressure and more of why
)

// body returns the parts of the screen in so many lines; a height under 0 is no bound.
func (m *topModel) body(height int) []string {
	mostHost, mostWhy, both := 5, 2, false
	switch {
	case height < 0:
		mostHost, mostWhy, both = 0, 0, true
	case height+2 >= wideHeight:
		mostHost, mostWhy, both = 12, 8, true
	case height+2 >= bothHeight:
		mostHost, mostWhy, both = 5, 4, true
	case height < 9:
		mostHost, mostWhy = max(1, height-5), 1
	}
	lines := m.hostLines(m.width, mostHost)
	style := styleOfLevel(m.severity.Severity.Level)
	if m.severityErr != nil || m.severity.Stale || m.severity.Severity.InstanceID == "" {
		style = styleUnknown
	}
	lines = append(lines, label("severity")+style.Render(cut(m.severityText(), m.width-labelWidth)))
	permits, tasks := &m.panes[permitPane], &m.panes[taskPane]
	if mostWhy > 0 && both { // with what the tables leave
		mostWhy = max(mostWhy, height-len(lines)-permits.height()-tasks.height())
	}
	lines = append(lines, m.whyPart(m.width, mostWhy)...)
	if height < 0 {
		for i := range m.panes {
			lines = append(append(lines, ""), m.panes[i].view(m.width, m.panes[i].height(), false)...)
		}
		return lines
	}
	rest := height - len(lines)
	if !both {
		return append(lines, m.pane().view(m.width, rest, true)...)
	}
	upper := split(permits.height(), tasks.height(), rest)
	lines = append(lines, permits.view(m.width, upper, m.focus == permitPane)...)
	return append(lines, tasks.view(m.width, rest-upper, m.focus == taskPane)...)
}

// split returns how many of the lines the first of two gets that need so many: half, and what the second does not need.
func split(first, second, lines int) int {
	return min(first, max(lines/2, lines-second))
}

// fitting cuts lines to so many, if that is over 0, and says that there are more.
func fitting(lines []string, most int) []string {
	if most < 1 || len(lines) <= most {
		return lines
	}
	return append(lines[:most-1:most-1], "… more than fits")
}

// foot names the keys, or shows the filter while it is changed.
func (m *topModel) foot() string {
	if m.editing {
		return "/" + m.pane().filter + "▏  enter keeps it, esc clears it"
	}
	if m.help || m.why {
		return styleHead.Render("esc") + " back  " + styleHead.Render("q") + " quit"
	}
	keys := []struct{ key, does string }{
		{"q", "quit"}, {"?", "help"}, {"w", "why"}, {"tab", "pane"}, {"↑↓", "row"}, {"s", "sort: " + m.pane().sortedBy()},
		{"/", "filter"},
	}
	var parts []string
	for _, k := range keys {
		parts = append(parts, styleHead.Render(k.key)+" "+k.does)
	}
	return strings.Join(parts, "  ")
}

// helpLines says what the keys do and what the signs mean.
func helpLines() []string {
	return []string{
		"tab, left, right    the other pane",
		"up, down, j, k      another row",
		"page, home, end     further",
		"s, r                sort by the next column; reverse",
		"/                   rows with a text only; esc: all",
		"w                   why: all signals, severity, the row",
		"ctrl-z, ctrl-l      suspend; draw anew",
		"q                   quit",
		"",
		"! over its bound, ? not read; then the last minute.",
		"LIMIT of a session is what it may hold. CPU is in cores,",
		"BY how memory is counted; DISK > at least, ~ is old,",
		"= by project quota. AGE is that of the sample.",
	}
}
