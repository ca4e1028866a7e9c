package main

import (
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/snapshot"
)

// The panes that can be chosen.
const (
	permitPane = iota
	taskPane
	panes
)

// maxFilter bounds the filter of a pane, in characters.
const maxFilter = 64

// topModel is what `headroom top` shows: a function of the messages it was given. It reads no clock and calls nobody.
type topModel struct {
	width, height int

	now   time.Time     // by the wall clock
	clock time.Duration // by that of the client

	version     string
	state       client.State
	heard       bool // whether state is of a server
	severity    client.SeverityUpdate
	severityErr error
	traces      traces

	panes   [panes]topPane
	permits topPermits
	tasks   topTasks

	focus   int
	why     bool // the whole screen says why
	help    bool
	editing bool // the filter

	explained topExplained // of the permits that were selected last
	asking    bool         // for that

	// explain asks why a session has as many permits of a resource; "" is one's own. The answer is a topExplained.
	explain func(resource, session string) tea.Cmd

	fatal error // why it ended by itself
}

// topNews is what the server told since the last one: what is nil is as it was.
type topNews struct {
	now   time.Time
	clock time.Duration

	state       *client.State
	samples     []snapshot.Snapshot // of before
	severity    *client.SeverityUpdate
	severityErr error
	permits     *topPermits
	tasks       *topTasks
	fatal       error // nothing more is to come
}

// topPermits is the newest answer of the permits, got at a time, and why there is no newer one.
type topPermits struct {
	resources []permit.ResourceAccount
	sessions  []permit.SessionAccount
	at        time.Time // zero for none
	err       error
}

// topTasks is the same of the tasks.
type topTasks struct {
	all []client.TaskState
	at  time.Time
	err error
}

// topExplained is why a row of the permits is as it is.
type topExplained struct {
	key   string
	lines []string
}

func newTopModel() *topModel {
	m := &topModel{traces: traces{}, explain: func(_, _ string) tea.Cmd { return nil }}
	m.panes[permitPane].columns = permitColumns
	m.panes[taskPane].columns, m.panes[taskPane].sort = taskColumns, taskCPUColumn
	return m
}

// Init asks for nothing: whoever runs the model sends it the news.
func (m *topModel) Init() tea.Cmd { return nil }

// Update takes up a message.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case topNews:
		return m, m.take(&msg)
	case topExplained:
		m.asking, m.explained = false, msg
		if msg.key != m.panes[permitPane].current() {
			return m, m.ask() // another was selected meanwhile
		}
	case tea.PasteMsg:
		if m.editing {
			m.edit(m.pane().filter + clean(msg.Content))
		}
	case tea.KeyPressMsg:
		if m.editing {
			m.editKey(msg)
			return m, m.ask()
		}
		return m, m.key(msg.String())
	}
	return m, nil
}

func (m *topModel) pane() *topPane { return &m.panes[m.focus] }

// take takes up news, and returns what is to be asked because of it.
func (m *topModel) take(n *topNews) tea.Cmd {
	m.now, m.clock = n.now, n.clock
	m.traces.add(n.samples, m.clock)
	if n.state != nil {
		m.state = *n.state
		if m.state.Started.InstanceID != "" {
			m.heard, m.version = true, m.state.Started.ServerVersion
		}
		if !m.state.Stale {
			m.traces.add(m.state.Snapshots, m.clock)
		}
	}
	if n.severity != nil {
		m.severity, m.severityErr = *n.severity, nil
	}
	if n.severityErr != nil {
		m.severityErr = n.severityErr
	}
	switch {
	case n.permits == nil:
	case n.permits.err != nil:
		m.permits.err = n.permits.err
	default:
		m.permits = *n.permits
	}
	switch {
	case n.tasks == nil:
	case n.tasks.err != nil:
		m.tasks.err = n.tasks.err
	default:
		m.tasks = *n.tasks
	}
	p := &m.panes[permitPane]
	if n.permits != nil {
		p.set(permitRows(m.permits.resources, m.permits.sessions))
	}
	p.note = m.listNote(m.permits.err, m.permits.at, len(p.rows), "no resources")
	t := &m.panes[taskPane] // their ages are of now
	t.set(taskRows(m.tasks.all, m.clock, m.now))
	t.note = m.listNote(m.tasks.err, m.tasks.at, len(t.rows), "no tasks; headroom task -- CMD begins one")
	if n.fatal != nil {
		m.fatal = n.fatal
		return tea.Quit
	}
	if n.permits != nil && n.permits.err == nil {
		return m.ask()
	}
	return nil
}

// listNote says why a list is old or empty, or nothing.
func (m *topModel) listNote(err error, at time.Time, rows int, empty string) string {
	switch {
	case err != nil && at.IsZero():
		return clean(callError(err).Error())
	case err != nil:
		return "of " + humanDuration(max(m.now.Sub(at), 0)) + " ago: " + clean(callError(err).Error())
	case at.IsZero():
		return "not heard yet"
	case rows == 0:
		return empty
	default:
		return ""
	}
}

// ask asks why the selected row of the permits is as it is, unless an answer is awaited.
func (m *topModel) ask() tea.Cmd {
	key := m.panes[permitPane].current()
	if m.asking || m.focus != permitPane || key == "" || m.permits.err != nil {
		return nil
	}
	cmd := m.explain(fromPermitKey(key))
	m.asking = cmd != nil
	return cmd
}

// page is how many rows the keys for a page go.
const page = 10

// key does what a key says, and returns what is to be asked then.
func (m *topModel) key(key string) tea.Cmd {
	const far = 1 << 30
	switch key {
	case "q", "ctrl+c":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "ctrl+l":
		return tea.ClearScreen
	case "?", "h":
		m.help = !m.help
	case "w":
		m.why, m.help = !m.why, false
	case "esc":
		if !m.help && !m.why {
			m.edit("")
		}
		m.help, m.why = false, false
	case "tab", "shift+tab", "left", "right":
		m.focus = (m.focus + 1) % panes // there are two: back is the same
	case "up", "k":
		m.pane().move(-1)
	case "down", "j":
		m.pane().move(1)
	case "pgup", "ctrl+b":
		m.pane().move(-page)
	case "pgdown", "ctrl+f", "space":
		m.pane().move(page)
	case "home", "g":
		m.pane().move(-far)
	case "end", "G":
		m.pane().move(far)
	case "s":
		m.pane().sortNext(m.width)
	case "r":
		m.pane().reverse = !m.pane().reverse
	case "/":
		m.editing, m.help, m.why = true, false, false
	default:
		return nil
	}
	return m.ask()
}

// editKey changes the filter of the pane.
func (m *topModel) editKey(k tea.KeyPressMsg) {
	switch filter := m.pane().filter; k.String() {
	case "enter", "tab":
		m.editing = false
	case "esc", "ctrl+c":
		m.editing = false
		m.edit("")
	case "ctrl+u":
		m.edit("")
	case "backspace":
		_, size := utf8.DecodeLastRuneInString(filter)
		m.edit(filter[:len(filter)-size])
	default:
		m.edit(filter + clean(k.Text))
	}
}

func (m *topModel) edit(filter string) {
	if utf8.RuneCountInString(filter) <= maxFilter {
		m.pane().filter = filter
	}
}

// severityText is what is known of the severity in one line.
func (m *topModel) severityText() string {
	s := &m.severity.Severity
	switch {
	case m.severityErr != nil:
		return clean(callError(m.severityErr).Error())
	case s.InstanceID == "":
		return "not heard yet"
	}
	text := levelOf(s)
	if !s.Since.IsZero() {
		text += ", for " + humanDuration(max(m.now.Sub(s.Since), 0))
	}
	if s.HasFraction {
		text += ", next level " + humanRatio(s.Fraction) + " of the way"
	}
	return text + ", exhaustion " + exhaustionText(s)
}
