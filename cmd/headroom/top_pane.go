package main

import (
	"cmp"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
)

// styleSelected marks the row that is selected, beside a sign before it.
var styleSelected = lipgloss.NewStyle().Reverse(true)

// A topColumn is a column of a pane. The first gives way to the others, and a text in the last one is cut.
type topColumn struct {
	head  string
	right bool
	least int // how wide it is at least, so that the others stay where they are
	from  int // the width of the terminal from which it is shown
}

// A topCell is a field of a row; by is what it is sorted by in a column that is aligned to the right, else its text.
type topCell struct {
	cell
	by float64
}

// A topRow is one row of a pane. The key stays the same however the rows are sorted, and rows of a lower group come
// first.
type topRow struct {
	key   string
	group int
	cells []topCell
}

// contains reports whether the row matches a filter.
func (r *topRow) contains(filter string) bool {
	return slices.ContainsFunc(r.cells, func(c topCell) bool {
		return strings.Contains(strings.ToLower(c.text), strings.ToLower(filter))
	})
}

// A topPane is a table that is sorted and filtered, with one row selected.
type topPane struct {
	columns []topColumn
	rows    []topRow // all that there are
	note    string   // what is to be said of the rows as a whole

	topOrder
	selected string // the key of the row
	at       int    // where it was last

	// What follows from rows and ordered, made anew when the order or, by set, the rows are others.
	ordered topOrder
	sorted  []topRow
	widths  []int // of the columns
}

// A topOrder says which rows are shown and how they are sorted.
type topOrder struct {
	sort    int
	reverse bool
	filter  string
}

// set replaces the rows. What is selected stays so, and where it is gone, what is in its place then.
func (p *topPane) set(rows []topRow) {
	p.at = p.index(p.shown())
	p.rows, p.sorted = rows, nil
}

// shown returns the rows that match the filter, sorted. Numbers come with the greatest first, texts as in a dictionary.
// The rows are the pane's.
func (p *topPane) shown() []topRow {
	if p.sorted != nil && p.ordered == p.topOrder {
		return p.sorted
	}
	rows := make([]topRow, 0, len(p.rows))
	for i := range p.rows {
		if p.filter == "" || p.rows[i].contains(p.filter) {
			rows = append(rows, p.rows[i])
		}
	}
	slices.SortStableFunc(rows, func(a, b topRow) int {
		if c := cmp.Compare(a.group, b.group); c != 0 {
			return c
		}
		c := strings.Compare(a.cells[p.sort].text, b.cells[p.sort].text)
		if p.columns[p.sort].right {
			c = cmp.Compare(b.cells[p.sort].by, a.cells[p.sort].by)
		}
		if p.reverse {
			c = -c
		}
		return cmp.Or(c, strings.Compare(a.key, b.key))
	})
	widths := make([]int, len(p.columns))
	for i, c := range p.columns {
		widths[i] = max(c.least, lipgloss.Width(c.head))
		for _, r := range rows {
			widths[i] = max(widths[i], lipgloss.Width(r.cells[i].text))
		}
	}
	p.ordered, p.sorted, p.widths = p.topOrder, rows, widths
	return rows
}

// move selects the row that is so many rows further, or the nearest that there is.
func (p *topPane) move(by int) {
	rows := p.shown()
	if len(rows) == 0 {
		return
	}
	p.at = max(0, min(p.index(rows)+by, len(rows)-1))
	p.selected = rows[p.at].key
}

// index returns where the selected row is; where it is gone, the row that took its place.
func (p *topPane) index(rows []topRow) int {
	if i := slices.IndexFunc(rows, func(r topRow) bool { return r.key == p.selected }); i >= 0 {
		return i
	}
	return max(0, min(p.at, len(rows)-1))
}

// current returns the key of the selected row, or "" where there is no row.
func (p *topPane) current() string {
	rows := p.shown()
	if len(rows) == 0 {
		return ""
	}
	return rows[p.index(rows)].key
}

// sortNext sorts by the next column that a terminal of the width shows.
func (p *topPane) sortNext(width int) {
	p.reverse = false
	for range p.columns {
		p.sort = (p.sort + 1) % len(p.columns)
		if p.columns[p.sort].from <= width {
			return
		}
	}
}

// sortedBy names what the rows are sorted by, with an arrow that tells whether they rise.
func (p *topPane) sortedBy() string {
	arrow := "↑"
	if p.columns[p.sort].right != p.reverse {
		arrow = "↓"
	}
	return strings.ToLower(p.columns[p.sort].head) + arrow
}

// height is how many lines the pane needs to show everything.
func (p *topPane) height() int {
	lines := 1 + len(p.shown())
	if p.note != "" {
		lines++
	}
	return lines
}

// view returns the pane in lines of the width, at most height of them; of rows that do not fit those around the selected one.
func (p *topPane) view(width, height int, focused bool) []string {
	rows := p.shown()
	at := p.index(rows)
	kept := columnsFor(p.columns, width)
	heading := make([]topCell, len(p.columns))
	for i, c := range p.columns {
		heading[i].cell = cell{text: c.head, style: styleHead, right: c.right}
	}
	if p.filter != "" {
		heading[0].text += " /" + p.filter
	}
	needed := slices.Clone(p.widths)
	needed[0] = max(needed[0], lipgloss.Width(heading[0].text))
	widths := columnWidths(p.columns, needed, kept, width-1)
	mark := " "
	if focused {
		mark = styleHead.Render(">")
	}
	lines := []string{mark + layOut(heading, kept, widths)}
	if p.note != "" {
		lines = append(lines, "  "+styleUnknown.Render(cut(p.note, width-2)))
	}
	room := max(0, height-len(lines))
	first := max(0, min(at-room/2, len(rows)-room))
	for i := first; i < min(first+room, len(rows)); i++ {
		row := slices.Clone(rows[i].cells)
		mark := " "
		if focused && i == at {
			mark, row[0].style = ">", styleSelected
		}
		lines = append(lines, mark+layOut(row, kept, widths))
	}
	return lines
}

// columnsFor returns the columns that a terminal of the width shows.
func columnsFor(columns []topColumn, width int) []int {
	var kept []int
	for i, c := range columns {
		if c.from <= width {
			kept = append(kept, i)
		}
	}
	return kept
}

// leastName is how narrow the first column may get for the sake of the others.
const leastName = 10

// columnWidths returns the widths of the kept columns, which need so much, with a space between two, so that they fit
// into the width.
func columnWidths(columns []topColumn, needed, kept []int, width int) []int {
	widths := make([]int, len(kept))
	for i, column := range kept {
		widths[i] = needed[column]
	}
	last := len(kept) - 1
	spare := width - last // for the first and the last
	for _, w := range widths[1:last] {
		spare -= w
	}
	ending := widths[last]
	if !columns[kept[last]].right {
		ending = min(ending, max(spare-widths[0], spare/2))
	}
	widths[0] = min(widths[0], max(leastName, spare-ending))
	widths[last] = max(0, min(ending, spare-widths[0]))
	return widths
}

// layOut returns the kept cells in columns of the widths.
func layOut(cells []topCell, kept, widths []int) string {
	var b strings.Builder
	for i, column := range kept {
		c := cells[column].cell
		text := cut(c.text, widths[i])
		pad := strings.Repeat(" ", max(0, widths[i]-lipgloss.Width(text)))
		if i > 0 {
			b.WriteByte(' ')
		}
		if c.right {
			b.WriteString(pad + c.style.Render(text))
		} else {
			b.WriteString(c.style.Render(text) + pad)
		}
	}
	return b.String()
}

// cut shortens a text to a width in cells, and shows that it did.
func cut(text string, width int) string {
	switch {
	case lipgloss.Width(text) <= width:
		return text
	case width < 1:
		return ""
	case width == 1:
		return "…"
	default:
		return lipgloss.NewStyle().MaxWidth(width-1).Render(text) + "…"
	}
}
