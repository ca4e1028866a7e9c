package main

import (
	"fmt"
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
func coloured(w io.Writer) io.Writer {
	p := colorprofile.Detect(w, os.Environ())
	return &colorprofile.Writer{
		Forward: w,
		Profile: profile(p, onTerminal(w), os.Getenv("NO_COLOR"), os.Getenv("CLICOLOR_FORCE")),
	}
}

// profile corrects what was detected: by their definitions any text in NO_COLOR counts, also off a
// terminal, and any but "0" in CLICOLOR_FORCE; the former wins.
func profile(detected colorprofile.Profile, terminal bool, noColor, force string) colorprofile.Profile {
	switch {
	case noColor != "" && !terminal:
		return colorprofile.NoTTY
	case noColor != "":
		return min(detected, colorprofile.ASCII)
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

// printTable prints rows in columns that are two spaces apart.
func printTable(w io.Writer, rows [][]cell) error {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(c.text))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-lipgloss.Width(c.text))
			if c.right {
				b.WriteString(pad)
			}
			b.WriteString(c.style.Render(c.text))
			if i == len(row)-1 {
				break
			}
			if !c.right {
				b.WriteString(pad)
			}
			b.WriteString("  ")
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}
