package main

import (
	"encoding/xml"
	"fmt"
	"image/color"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/vt"
)

// TestTopPicture draws docs/top.svg from a real run; `go test ./cmd/headroom -run TopPicture -update` writes it. It takes a
// minute, until the sparklines are full.
func TestTopPicture(t *testing.T) {
	if !*update {
		t.Skip("draws docs/top.svg with -update only")
	}
	server := startTopServer(t)
	for _, args := range [][]string{
		{"run", "--permit", "api", "--", "sleep", "600"},
		{"run", "--permit", "api", "--", "sleep", "600"},
		{"run", "--permit", "api", "--", "sleep", "600"},
		{"task", "--name", "crawl", "--", "sh", "-c", "while :; do sleep 0.01; done"},
		{"task", "--name", "thumbnails", "--", "sh", "-c", "while :; do sleep 1; done"},
	} {
		server.background(args...)
	}
	top := startOnScreen(t, server.command(nil, "top"), 80, 24)
	top.await(`^ api .* 1 .* live`, `^ crawl `, `^ thumbnails `)
	top.awaitFor(30*time.Second, `^memory .* [▁▂▃▄▅▆▇█]{12}`)
	const burner = "end=$(($(date +%s) + 60)); while [ $(date +%s) -lt $end ]; do :; done"
	server.background("task", "--name", "burner", "--", "sh", "-c", burner+" & "+burner+" & wait")
	top.awaitFor(2*time.Minute, `^memory .* [▁▂▃▄▅▆▇█]{29}`, `^headroom  overloaded: cpu `, `^ burner `)
	if err := os.WriteFile("../../docs/top.svg", []byte(top.picture("headroom top")), 0o644); err != nil {
		t.Fatal(err)
	}
	top.press("q")
	top.ends("0")
}

// background runs a command until the test ends.
func (s *topServer) background(args ...string) {
	s.t.Helper()
	cmd := s.command(nil, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { terminate(cmd) })
}

// terminate ends a command with those that it runs.
func terminate(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	_ = cmd.Wait()
}

// The measures of a picture, in its units, and the colours of a terminal in it.
const (
	pictureCell = 8.43
	pictureLine = 19.0
	pictureEdge = 18.0
	pictureText = "#d6dae1"
	pictureBack = "#16181d"
)

var pictureColours = map[color.Color]string{lipgloss.Red: "#ff7b72", lipgloss.Green: "#7ee787", lipgloss.Yellow: "#e3b341"}

// picture draws the screen as SVG.
func (s *screen) picture(command string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	width := 2*pictureEdge + pictureCell*float64(s.vt.Width())
	height := 2*pictureEdge + pictureLine*float64(s.vt.Height()+1)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label=%q>`+"\n",
		width, height, width, height, command+": the load with its last minute, the severity, what binds, the permits and the tasks")
	fmt.Fprintf(&b, `<rect width="%.0f" height="%.0f" rx="8" fill="%s"/>`+"\n", width, height, pictureBack)
	b.WriteString(`<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="14" xml:space="preserve">` + "\n")
	fmt.Fprintf(&b, `<text x="%.0f" y="30" fill="#8b93a1">$ %s</text>`+"\n", pictureEdge, command)
	for y := range s.vt.Height() {
		for x := 0; x < s.vt.Width(); {
			x = drawRun(&b, s.vt, x, y)
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

// drawRun draws the cells from x on that look alike, and returns where they end.
func drawRun(b *strings.Builder, screen *vt.Emulator, x, y int) int {
	first := screen.CellAt(x, y)
	end, text := x, ""
	for end < screen.Width() {
		c := screen.CellAt(end, y)
		if !c.Style.Equal(&first.Style) {
			break
		}
		text += c.Content
		end += max(1, c.Width)
	}
	reversed := first.Style.Attrs&reverse != 0
	if !reversed { // blanks show nothing
		trimmed := strings.TrimLeft(text, " ")
		x += len(text) - len(trimmed)
		text = strings.TrimRight(trimmed, " ")
	}
	if text == "" {
		return end
	}
	fill, weight := pictureText, ""
	if first.Style.Attrs&bold != 0 {
		fill, weight = "#ffffff", ` font-weight="bold"`
	}
	if c, ok := pictureColours[first.Style.Fg]; ok {
		fill = c
	}
	left, base := pictureEdge+pictureCell*float64(x), 49+pictureLine*float64(y)
	wide := pictureCell * float64(lipgloss.Width(text))
	if reversed {
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", left, base-14, wide, pictureLine, fill)
		fill = pictureBack
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.0f" textLength="%.1f" lengthAdjust="spacingAndGlyphs" fill="%s"%s>`, left, base, wide, fill, weight)
	_ = xml.EscapeText(b, []byte(text)) // a strings.Builder takes every write
	b.WriteString("</text>\n")
	return end
}

// The attributes of a cell that a picture shows.
const (
	bold    = 1 << 0
	reverse = 1 << 5
)
