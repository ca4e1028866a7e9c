package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
)

// topNow is the time of the news of these tests, of the same text in every time zone.
var topNow = time.Date(2026, 3, 4, 12, 34, 56, 0, time.Local)

const topClock = 10 * time.Minute

func cpuSnapshot(at time.Duration, value float64) snapshot.Snapshot {
	return snapshot.Snapshot{
		Signal: "cpu", Resource: snapshot.CPU, At: at, Value: value, Limit: 0.95, Overloaded: value > 0.95,
		CPU: snapshot.CPUReading{Used: value, Cores: 2, HostKnown: true, Hottest: 1},
	}
}

// busyState is an overloaded machine as a server tells it.
func busyState() client.State {
	signal := func(name string, r snapshot.Resource, value, bound float64) snapshot.SignalStatus {
		return snapshot.SignalStatus{
			Signal: name, Resource: r, State: snapshot.StateIdle, Limit: 0.4, Value: value, Bound: bound,
			Age: 300 * time.Millisecond, HasValue: true,
		}
	}
	cpu := signal("cpu", snapshot.CPU, 0.99, 0.95)
	cpu.State, cpu.Actual = snapshot.StateOverloaded, 0.801
	pressure := signal("pressure_cpu", snapshot.Pressure, 0.5, 0.8)
	waiting := signal("pressure_io", snapshot.Pressure, 0.1, 0.5)
	queue := signal("queue", snapshot.Custom, 7, 20)
	failed := signal("event_loop", snapshot.EventLoop, 0.0123, 0.05)
	failed.Reason = "the timer\x1b[2J did not fire"
	errs := snapshot.SignalStatus{Signal: "client", Resource: snapshot.Client, State: snapshot.StateDisabled}
	return client.State{
		Started:  client.Started{InstanceID: "a", ServerVersion: "1.2.3"},
		Received: topNow,
		Snapshots: []snapshot.Snapshot{
			cpuSnapshot(topClock-300*time.Millisecond, 0.99),
			{Signal: "memory", Resource: snapshot.Memory, At: topClock - time.Second, Value: 0.45, Limit: 0.9,
				Memory: snapshot.MemoryReading{Used: 4 << 30, Max: 8 << 30}},
			{Signal: "event_loop", Resource: snapshot.EventLoop, At: topClock, Unknown: "the timer\x1b[2J did not fire"},
			{Signal: "pressure_cpu", Resource: snapshot.Pressure, At: topClock, Value: 0.5, Limit: 0.8,
				Pressure: snapshot.PressureReading{Some: 0.5, Full: 0.01, FullKnown: true}},
			{Signal: "queue", Resource: snapshot.Custom, At: topClock, Value: 7, Limit: 20, Source: "crawler"},
		},
		Current: snapshot.Status{
			Window: 5 * time.Second, State: snapshot.StateOverloaded,
			Signals: []snapshot.SignalStatus{
				cpu, signal("memory", snapshot.Memory, 0.45, 0.9), failed, errs, pressure, waiting, queue,
			},
		},
	}
}

func risenSeverity() *client.SeverityUpdate {
	return &client.SeverityUpdate{Received: topNow, Severity: client.Severity{
		Level: 1, MaxLevel: 3, Since: topNow.Add(-12 * time.Second), InstanceID: "a",
		Evidence: []severity.Evidence{{Level: 1, Text: "memory_used() > 0.8", Finding: severity.Finding{
			Truth: severity.True, Signal: "memory", Value: 0.85, HasValue: true, Bound: 0.8, Unit: "ratio", Age: time.Second,
		}}},
		Fraction: 0.4, HasFraction: true, Exhaustion: 3 * time.Minute, HasExhaustion: true,
	}}
}

func busyPermits() *topPermits {
	session := func(name, client string, share permit.SessionShare) permit.SessionAccount {
		share.Resource = "api"
		return permit.SessionAccount{
			Name: name, Client: client, Party: permit.Party{Identity: "uid:1000", PID: 77}, State: permit.SessionLive,
			Shares: []permit.SessionShare{share},
		}
	}
	silent := session("0b", "zebra", permit.SessionShare{Held: 1, Charge: 1})
	silent.State, silent.Silence = permit.SessionSuspect, 4*time.Second
	return &topPermits{
		resources: []permit.ResourceAccount{
			{Resource: "api", Limit: 4, Charge: 3, Unknown: 1, Held: 3, Want: 9, Sessions: 2, Law: "fixed", Binding: "the limit of 4",
				Mode: permit.ModeNormal, OldestWait: 1500 * time.Millisecond},
			{Resource: "host", Limit: 8, Law: "status", Mode: permit.ModeDrain, Binding: "severity level 3"},
		},
		sessions: []permit.SessionAccount{
			session("0a", "crawler", permit.SessionShare{Held: 2, Charge: 2, Target: 2, Want: 8, OldestWait: 1500 * time.Millisecond}),
			silent,
		},
		at: topNow,
	}
}

func busyTasks() *topTasks {
	one := func(id, name string, rate float64, rss int64) client.TaskState {
		return client.TaskState{
			Info: task.Info{Spec: task.Spec{ID: id, Name: name, Owner: "uid:1000"}, RegisteredTime: topNow.Add(-90 * time.Second)},
			Sample: &task.Sample{At: topClock - 2*time.Second, Usage: task.Usage{
				Known: true, CPUKnown: true, CPU: 12 * time.Second, Rate: rate, RateKnown: true, RSS: rss, Threads: 9, Processes: 3,
			}, Processes: []task.ProcessUsage{{Name: "main", PID: 42, Usage: task.Usage{
				Known: true, CPUKnown: true, CPU: 12 * time.Second, Rate: rate, RateKnown: true, RSS: rss,
			}}}},
		}
	}
	grouped := one("2", "index", 0.5, 1<<20)
	grouped.Sample.Usage.Group, grouped.Sample.Usage.GroupKnown = 3<<30, true
	grouped.Info.Sandbox, grouped.Info.MemoryLimit = "/srv/index", 2<<30
	grouped.Sample.Disk = snapshot.DiskReading{State: snapshot.DiskPartial, Reason: "the deadline", Bytes: 5 << 30}
	waiting := one("3", "late", 0, 0)
	waiting.Sample = nil
	return &topTasks{all: []client.TaskState{
		one("1", "crawl\u202e\x1b[31m", 1.75, 200<<20), grouped, waiting,
	}, at: topNow}
}

func busyNews() topNews {
	state := busyState()
	var samples []snapshot.Snapshot
	for s := range 40 {
		samples = append(samples, cpuSnapshot(topClock-time.Duration(40-s)*time.Second, float64(s)/40))
	}
	return topNews{
		now: topNow, clock: topClock, state: &state, samples: samples, severity: risenSeverity(), permits: busyPermits(), tasks: busyTasks(),
	}
}

// topOf returns a model of a size after messages.
func topOf(width, height int, messages ...tea.Msg) *topModel {
	m := newTopModel()
	for _, msg := range append([]tea.Msg{tea.WindowSizeMsg{Width: width, Height: height}}, messages...) {
		m.Update(msg)
	}
	return m
}

// press returns the message of a key by its name, as it comes from a terminal.
func press(key string) tea.KeyPressMsg {
	codes := map[string]rune{
		"tab": tea.KeyTab, "esc": tea.KeyEscape, "enter": tea.KeyEnter, "up": tea.KeyUp, "down": tea.KeyDown, "end": tea.KeyEnd,
		"home": tea.KeyHome, "pgdown": tea.KeyPgDown, "backspace": tea.KeyBackspace,
	}
	if code, ok := codes[key]; ok {
		return tea.KeyPressMsg{Code: code}
	}
	if letter, ok := strings.CutPrefix(key, "ctrl+"); ok {
		return tea.KeyPressMsg{Code: rune(letter[0]), Mod: tea.ModCtrl}
	}
	return tea.KeyPressMsg{Code: []rune(key)[0], Text: key}
}

// stateOfTop says in short what keys have changed.
func stateOfTop(m *topModel) string {
	p := m.pane()
	var keys []string
	for _, r := range p.shown() {
		key := strings.ReplaceAll(r.key, " ", ".")
		if r.key == p.current() {
			key = "[" + key + "]"
		}
		keys = append(keys, key)
	}
	text := fmt.Sprintf("pane %d by %s: %s", m.focus, p.sortedBy(), strings.Join(keys, " "))
	for _, mode := range []struct {
		on   bool
		name string
	}{{m.editing, "editing"}, {m.help, "help"}, {m.why, "why"}} {
		if mode.on {
			text += " " + mode.name
		}
	}
	return text
}

func TestTopKeys(t *testing.T) {
	const permits, tasks = "pane 0 by permits↑: ", "pane 1 by cpu↓: "
	for keys, want := range map[string]string{
		"":                                    permits + "[api.] host. api.0a api.0b",
		"down":                                permits + "api. [host.] api.0a api.0b",
		"j j k":                               permits + "api. [host.] api.0a api.0b",
		"up":                                  permits + "[api.] host. api.0a api.0b",
		"end":                                 permits + "api. host. api.0a [api.0b]",
		"pgdown":                              permits + "api. host. api.0a [api.0b]",
		"end home":                            permits + "[api.] host. api.0a api.0b",
		"end r":                               "pane 0 by permits↓: host. api. [api.0b] api.0a",
		"s":                                   "pane 0 by limit↓: [host.] api. api.0a api.0b",
		"down s r":                            "pane 0 by limit↑: api. [host.] api.0b api.0a",
		"s s s s s s":                         "pane 0 by what binds↑: [host.] api. api.0a api.0b",
		"s s s s s s s":                       permits + "[api.] host. api.0a api.0b", // no LAW at 80 columns
		"tab":                                 tasks + "[1] 2 3",
		"tab tab":                             permits + "[api.] host. api.0a api.0b",
		"tab s":                               "pane 1 by memory↓: [2] 1 3",
		"tab down s":                          "pane 1 by memory↓: [2] 1 3",
		"/ Z e":                               permits + "[api.0b] editing",
		"/ z enter":                           permits + "[api.0b]",
		"/ z enter tab":                       tasks + "[1] 2 3",
		"/ z q enter":                         permits,
		"/ z q esc":                           permits + "[api.] host. api.0a api.0b",
		"/ z enter esc":                       permits + "[api.] host. api.0a api.0b",
		"/ z q backspace backspace backspace": permits + "[api.] host. api.0a api.0b editing",
		"down down / 0 b enter":               permits + "[api.0b]",
		"?":                                   permits + "[api.] host. api.0a api.0b help",
		"? w":                                 permits + "[api.] host. api.0a api.0b why",
		"? esc":                               permits + "[api.] host. api.0a api.0b",
		"w /":                                 permits + "[api.] host. api.0a api.0b editing",
		"x":                                   permits + "[api.] host. api.0a api.0b",
	} {
		m := topOf(80, 24, busyNews())
		for key := range strings.FieldsSeq(keys) {
			m.Update(press(key))
		}
		if got := stateOfTop(m); got != want {
			t.Errorf("%q: %q, want %q", keys, got, want)
		}
	}
}

func TestTopQuits(t *testing.T) {
	for keys, want := range map[string]bool{"q": true, "ctrl+c": true, "? q": true, "/ q": false, "/ ctrl+c": false, "esc": false} {
		m, quits := topOf(80, 24, busyNews()), false
		for key := range strings.FieldsSeq(keys) {
			_, cmd := m.Update(press(key))
			quits = false
			if cmd != nil {
				_, quits = cmd().(tea.QuitMsg)
			}
		}
		if quits != want {
			t.Errorf("%q quits: %t, want %t", keys, quits, want)
		}
	}
	m := topOf(80, 24, busyNews())
	ended := errors.New("not allowed")
	_, cmd := m.Update(topNews{now: topNow, fatal: ended})
	if cmd == nil || cmd() != tea.Quit() || m.fatal != ended {
		t.Errorf("the end of the states: command %v and error %v, want to quit with %v", cmd, m.fatal, ended)
	}
}

// The row stays selected wherever news puts it, and when it is gone the one in its place is.
func TestTopSelectionFollowsTheRow(t *testing.T) {
	m := topOf(80, 24, busyNews(), press("tab"), press("down"))
	step := func(name, want string, tasks ...client.TaskState) {
		t.Helper()
		m.Update(topNews{now: topNow, clock: topClock, tasks: &topTasks{all: tasks, at: topNow}})
		if got := stateOfTop(m); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	all := busyTasks().all
	step("as it was", "pane 1 by cpu↓: 1 [2] 3", all...)
	all[1].Sample.Usage.Rate = 3
	step("used more", "pane 1 by cpu↓: [2] 1 3", all...)
	all[1].Sample.Usage.Rate = 1
	step("used less", "pane 1 by cpu↓: 1 [2] 3", all...)
	step("gone", "pane 1 by cpu↓: 1 [3]", all[0], all[2])
}

func TestTopAsksWhyOfTheSelectedRow(t *testing.T) {
	m := newTopModel()
	var asked []string
	m.explain = func(resource, session string) tea.Cmd {
		asked = append(asked, resource+"/"+session)
		return func() tea.Msg { return nil }
	}
	answer := func(key string) { m.Update(topExplained{key, []string{"because of " + key}}) }
	step := func(name, want string, msg tea.Msg) {
		t.Helper()
		asked = nil
		m.Update(msg)
		if got := strings.Join(asked, " "); got != want {
			t.Errorf("%s asks %q, want %q", name, got, want)
		}
	}
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	step("the first list", "api/", busyNews())
	step("another row while an answer is awaited", "", press("end"))
	step("the answer of the row before", "api/0b", topExplained{"api ", nil})
	answer("api 0b")
	if got := strings.Join(m.selectedLines(), ""); got != "because of api 0b" {
		t.Errorf("says %q of the row", got)
	}
	step("a newer list", "api/0b", topNews{now: topNow, permits: busyPermits()})
	answer("api 0b")
	step("no newer list", "", topNews{now: topNow})
	step("a task", "", press("tab"))
	step("the permits again", "api/0b", press("tab"))
	answer("api 0b")
	step("permits that are not known", "", topNews{now: topNow, permits: &topPermits{err: errors.New("no")}})
}

func TestTopKeepsWhatItKnows(t *testing.T) {
	gone := busyState()
	gone.Stale, gone.Cause = true, status.Error(codes.Unavailable, "connection refused")
	later := topNow.Add(7 * time.Second)
	m := topOf(80, 24, busyNews(), topNews{
		now: later, clock: topClock + 7*time.Second, state: &gone,
		permits: &topPermits{err: gone.Cause}, tasks: &topTasks{err: gone.Cause},
	})
	screen := plainTop(m)
	for _, want := range []string{
		"headroom  stale, nothing for 7s: connection refused", "99.0%?", "bound 95%, of 2 cores",
		"of 7s ago: connection refused\n>api ", "of 7s ago: connection refused\n crawl", "as it was 7s ago:", "cpu 99.0%, bound 95%, 7.3s old",
	} {
		if !strings.Contains(screen, want) {
			t.Errorf("a server that is gone: no %q in\n%s", want, screen)
		}
	}
	again := busyState()
	again.Received = later
	m.Update(topNews{now: later, clock: topClock + 8*time.Second, state: &again, permits: busyPermits(), tasks: busyTasks()})
	if screen = plainTop(m); strings.Contains(screen, "stale") || strings.Contains(screen, " ago: ") {
		t.Errorf("a server that is back:\n%s", screen)
	}
}

func TestTopPaste(t *testing.T) {
	m := topOf(80, 24, busyNews(), tea.PasteMsg{Content: "x"}, press("/"), tea.PasteMsg{Content: "a\x1bb"}, tea.PasteMsg{Content: strings.Repeat("y", 99)})
	if got := m.pane().filter; got != "a\ufffdb" {
		t.Errorf("filter %q, want what was pasted last, cleaned, without what is too long", got)
	}
}

func TestSpark(t *testing.T) {
	const now = 2 * time.Minute
	points := func(values ...float64) trace {
		var t trace
		for i, v := range values { // one each 10 s, up to now
			t = append(t, tracePoint{now - time.Duration(len(values)-1-i)*10*time.Second, v, v > 0.9})
		}
		return t
	}
	for _, tt := range []struct {
		name   string
		points trace
		full   float64
		want   string
	}{
		{"nothing", nil, 1, "      "},
		{"one", points(0.5), 1, "     ▅"},
		{"whole", points(0, 0.125, 0.5, 0.874, 1, 0.999), 1, "▁▂▅▇██"},
		{"beyond full", points(2, 1), 1, "    █▅"},
		{"older than the span", points(1, 1, 0, 0, 0, 0, 0, 0), 1, "▁▁▁▁▁▁"},
		{"the highest of a part", append(points(0.5), tracePoint{now + 1, 0.25, false}), 1, "     ▅"},
		{"a part without", append(points(0.5, 0, 0)[:1], points(0.5)...), 1, "   ▅ ▅"},
	} {
		got := plain(spark(tt.points, now, 6, tt.full))
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := spark(points(0.95, 0.1, 0.1, 0.1, 0.1, 0.1), now, 6, 1); got != styleOverloaded.Render("█")+"▁▁▁▁▁" {
		t.Errorf("over the bound: %q, want that to stand out", got)
	}
}

func TestTraces(t *testing.T) {
	traces := traces{}
	read := func(signal string, at time.Duration) snapshot.Snapshot {
		return snapshot.Snapshot{Signal: signal, At: at}
	}
	failed := read("a", 3*time.Second)
	failed.Unknown = "no"
	traces.add([]snapshot.Snapshot{read("a", 1*time.Second), read("a", 2*time.Second), read("a", 1500*time.Millisecond), failed, read("b", time.Second)}, 3*time.Second)
	if len(traces["a"]) != 2 || len(traces["b"]) != 1 {
		t.Errorf("traces %v, want two readings of a and one of b", traces)
	}
	traces.add([]snapshot.Snapshot{read("a", 62*time.Second)}, 62*time.Second)
	if len(traces["a"]) != 2 || len(traces) != 1 {
		t.Errorf("a minute later: traces %v, want the last two readings of a", traces)
	}
}
