package main

import (
	"io"
	"os"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"golang.org/x/term"
)

// The styles. Each stands beside a word that says the same.
var (
	styleHead       = lipgloss.NewStyle().Bold(true)
	styleIdle       = lipgloss.NewStyle().Foreground(lipgloss.Green)
	styleOverloaded = lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true)
	styleUnknown    = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	stylePlain      = lipgloss.NewStyle()
)

// coloured returns a writer that lets colours through to a terminal that has them, and honours NO_COLOR,
// CLICOLOR_FORCE and TERM.
func coloured(w io.Writer) io.Writer { return colouredFor(w, w) }

// colouredFor returns a writer to w that lets through what coloured would let through to screen.
func colouredFor(screen, w io.Writer) io.Writer {
	p := colorprofile.Detect(screen, os.Environ())
	return &colorprofile.Writer{
		Forward: w,
		Profile: profile(p, os.Getenv("NO_COLOR"), os.Getenv("CLICOLOR_FORCE")),
	}
}

// profile corrects what was detected: by their definitions any text in NO_COLOR counts, and any but "0" in
// CLICOLOR_FORCE; the former wins. With NO_COLOR there is no escape sequence at all: of a style whose colour
// is taken away an empty one would be left.
func profile(detected colorprofile.Profile, noColor, force string) colorprofile.Profile {
	switch {
	case noColor != "":
		return colorprofile.NoTTY
	case force != "" && force != "0":
		return max(detected, colorprofile.ANSI)
	default:
		return detected
	}
}

// onTerminal reports whether w is a terminal.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// A cell is one field of a table.
type cell struct {
	text  string
	style lipgloss.Style
	right bool // aligned to the right
}

// formatTable returns rows in columns that are two spaces apart.
func formatTable(rows [][]cell) string {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(c.text))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-lipgloss.Width(c.text))
			switch last := i == len(row)-1; {
			case c.right && last:
				b.WriteString(pad + c.style.Render(c.text))
			case c.right:
				b.WriteString(pad + c.style.Render(c.text) + "  ")
			case last:
				b.WriteString(c.style.Render(c.text))
			default:
				b.WriteString(c.style.Render(c.text) + pad + "  ")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
