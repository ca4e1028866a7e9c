package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/headroom-rpc/headroom/client"
)

// keyRate is how often a second keys take effect on the screen.
const keyRate = 20

// topCommand is `headroom top` with its flags.
type topCommand struct {
	server   *serverFlags
	interval time.Duration
	once     bool
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
}

func newTop() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show load, severity, permits and tasks live, on the whole terminal",
		Long: `Show the load of this machine with its last minute, the severity, the permits
with who has them, and the tasks with what they use, on the whole terminal; and
why: which signal binds, its value, its bound and its age, and what binds the
row that is selected. '?' shows the keys, 'q' quits.

It goes on through restarts of the server, and says so when it hears nothing.
Permits and tasks are those that one may see: all for an observer.

--once prints one frame with everything, also where there is no terminal. The
colours are those of the terminal; NO_COLOR leaves them out.`,
		Example: examples(
			"headroom top              # until q",
			"headroom top --once | cat # one frame, to be kept",
		),
		Args: takes(cobra.NoArgs),
	}
	t := &topCommand{server: addServerFlags(cmd), interval: time.Second}
	addFlag(cmd, durationSetting("interval", &t.interval, redrawTime, 10*time.Second,
		"least time between two states; a change of a verdict comes at once"), "i")
	addFlag(cmd, switchSetting("once", &t.once, "print one frame"), "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t.stdin, t.stdout, t.stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
		if fault := t.terminalFault(); fault != nil && !t.once {
			return usageError(cmd, fault)
		}
		return t.run(cmd.Context())
	}
	return cmd
}

// terminalFault says why there is nothing to draw on, if so.
func (t *topCommand) terminalFault() error {
	in, ok := t.stdin.(*os.File)
	switch {
	case !onTerminal(t.stdout):
		return errors.New("top: the output is no terminal; --once prints one frame, watch a line a state")
	case os.Getenv("TERM") == "dumb":
		return errors.New("top: a dumb terminal cannot be drawn on; --once prints one frame, watch a line a state")
	case !ok || !term.IsTerminal(int(in.Fd())):
		return errors.New("top: the input is no terminal, so keys cannot be read; --once prints one frame")
	default:
		return nil
	}
}

func (t *topCommand) run(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, t.server.timeout)
	defer cancel()
	c, err := t.server.dial(dialing)
	if err != nil {
		return err
	}
	defer c.Close()
	if skew := c.Skew(); skew != "" {
		fmt.Fprintln(t.stderr, "headroom: warning:", clean(skew))
	}
	if t.once {
		return t.print(dialing, c)
	}
	return t.draw(ctx, c)
}

// print prints one frame.
func (t *topCommand) print(ctx context.Context, c *client.Client) error {
	m := newTopModel()
	m.width = 80
	if f, ok := t.stdout.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			m.width = width
		}
	}
	f := newTopFeed(c, t.interval, t.server.timeout)
	if err := f.once(ctx); err != nil {
		return callError(err)
	}
	news := f.take()
	m.take(&news)
	lines := m.lines()
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ") + "\n"
	}
	_, err := io.WriteString(coloured(t.stdout), strings.Join(lines, ""))
	return err
}

// draw draws the screen until somebody quits, or to go on is in vain.
func (t *topCommand) draw(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	f := newTopFeed(c, t.interval, t.server.timeout)
	m := newTopModel()
	m.explain = func(resource, session string) tea.Cmd {
		return func() tea.Msg { return f.explain(ctx, resource, session) }
	}
	shades := profile(colorprofile.Detect(t.stdout, os.Environ()), os.Getenv("NO_COLOR"), os.Getenv("CLICOLOR_FORCE"))
	p := tea.NewProgram(m, tea.WithInput(t.stdin), tea.WithOutput(t.stdout), tea.WithFPS(keyRate), tea.WithColorProfile(shades))
	var feeding sync.WaitGroup
	feeding.Go(func() { f.run(ctx, p.Send) })
	_, err := p.Run()
	cancel()
	feeding.Wait()
	if m.fatal != nil {
		return m.fatal
	}
	if errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}
