package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// doctorWait bounds how long doctor looks for a server.
const doctorWait = 2 * time.Second

// areaServer is the area of findings that are not the host's.
const areaServer = "server"

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell what can be seen here, which limits hold, and what to do",
		Long: `Look at this machine as "headroom serve" would: which limits hold and where they
come from, which signals can be read, what is hidden and why, and what to do
about it. It needs no server and changes nothing. The exit code is 0 whatever it
finds. With -o json, one finding a line: area, name, state (ok, limited or
missing), detail, advice.`,
		Example: examples(
			"headroom doctor",
			"headroom doctor --host-root /host   # in a container, with the host there",
		),
		Args: takes(cobra.NoArgs),
	}
	asJSON := addOutputFlag(cmd)
	conf := host.Config{Scope: snapshot.ScopeHost}
	cmd.Flags().StringVar(&conf.Cgroup, "cgroup", "", "cgroup whose limits hold: host for none, or a path (default its own)")
	cmd.Flags().StringVar(&conf.Root, "host-root", "", "directory where the host's / is mounted (default /)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		findings, err := host.Inspect(cmd.Context(), conf)
		if err != nil {
			return usageError(cmd, err)
		}
		findings = append(findings, inspectServer(cmd.Context()))
		if asJSON() {
			return printFindings(cmd.OutOrStdout(), findings)
		}
		out := cmd.OutOrStdout()
		_, err = io.WriteString(coloured(out), doctorText(findings, widthOf(out)))
		return err
	}
	return cmd
}

// inspectServer tells whether a server can be found as every other command finds it.
func inspectServer(ctx context.Context) host.Finding {
	ctx, cancel := context.WithTimeout(ctx, doctorWait)
	defer cancel()
	f := host.Finding{Area: areaServer, Name: "server"}
	c, err := client.Dial(ctx, client.WithVersion(version))
	if err != nil {
		f.State, f.Detail = host.FindingLimited, "none answers"
		f.Advice = "headroom serve starts one; doctor needs none"
		return f
	}
	defer c.Close()
	f.Detail = fmt.Sprintf("%s answers, version %s", c.Server().Address, c.Server().Version)
	return f
}

// A findingLine is a finding in JSON.
type findingLine struct {
	Area   string `json:"area"`
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Advice string `json:"advice"`
}

func printFindings(w io.Writer, findings []host.Finding) error {
	for _, f := range findings {
		line, err := json.Marshal(findingLine{f.Area, f.Name, f.State.String(), f.Detail, f.Advice})
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, escaped(string(line))+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// The columns of doctor before the detail.
const (
	findingName  = 16
	findingState = 8
)

// doctorText returns the findings for people, area by area, in lines of at most width columns.
func doctorText(findings []host.Finding, width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", styleHead.Render(buildText()))
	area := ""
	for i, f := range findings {
		if f.Area != area {
			area = f.Area
			fmt.Fprintf(&b, "\n%s\n", styleHead.Render(area))
		}
		state := styleOfFinding(f.State).Width(findingState).Render(f.State.String())
		indent := 2 + findingName + 1 + findingState + 1
		fmt.Fprintf(&b, "  %-*s %s %s\n", findingName, f.Name, state, wrapped(clean(f.Detail), width, indent))
		again := i+1 < len(findings) && findings[i+1].Advice == f.Advice // said once, after the last
		if f.Advice != "" && !again {
			fmt.Fprintf(&b, "%s-> %s\n", strings.Repeat(" ", indent), wrapped(clean(f.Advice), width, indent+3))
		}
	}
	return b.String()
}

// wrapped breaks a text into lines that fit beside an indent, the first of which is written already: between words,
// so that a flag or a path stays whole where it can.
func wrapped(text string, width, indent int) string {
	fits := max(width-indent, 20)
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		if column > 0 && column+1+lipgloss.Width(word) > fits {
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = 0
		}
		if column > 0 {
			b.WriteByte(' ')
			column++
		}
		for lipgloss.Width(word) > fits {
			cut := 0
			for i := range word {
				if lipgloss.Width(word[:i]) > fits {
					break
				}
				cut = i
			}
			b.WriteString(word[:cut] + "\n" + strings.Repeat(" ", indent))
			word = word[cut:]
		}
		b.WriteString(word)
		column += lipgloss.Width(word)
	}
	return b.String()
}

func styleOfFinding(s host.FindingState) lipgloss.Style {
	switch s {
	case host.FindingGood:
		return styleIdle
	case host.FindingLimited:
		return styleUnknown
	default:
		return styleOverloaded
	}
}

// widthOf returns how many columns w has: those of the terminal, or 80.
func widthOf(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return min(columns, 120)
		}
	}
	return 80
}
