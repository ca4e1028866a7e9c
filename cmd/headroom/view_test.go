package main

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/colorprofile"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/snapshot"
)

var busy = snapshot.Status{
	Window: 5 * time.Second,
	State:  snapshot.StateOverloaded,
	Signals: []snapshot.SignalStatus{
		{Signal: "cpu", Resource: snapshot.CPU, State: snapshot.StateOverloaded, Actual: 0.62, Limit: 0.4,
			Value: 0.991, Bound: 0.95, Age: 300 * time.Millisecond, HasValue: true},
		{Signal: "memory", Resource: snapshot.Memory, State: snapshot.StateOverloaded, Actual: 0.5, Limit: 0.2,
			Value: 0.93, Bound: 0.9, Age: 300 * time.Millisecond, HasValue: true},
		{Signal: "event_loop", Resource: snapshot.EventLoop, State: snapshot.StateUnknown, Limit: 0.6,
			Reason: "no reading\x1b[2J"},
		{Signal: "client", Resource: snapshot.Client, State: snapshot.StateDisabled},
		{Signal: "queue", Resource: snapshot.Custom, State: snapshot.StateIdle, Actual: 0.1, Limit: 0.3,
			Value: 12, Bound: 100, Age: 61 * time.Second, HasValue: true},
	},
}

// plain returns the text without its styles.
func plain(text string) string {
	var b strings.Builder
	w := colorprofile.Writer{Forward: &b, Profile: colorprofile.NoTTY}
	w.WriteString(text) // a strings.Builder takes every write
	return b.String()
}

func TestStatusTable(t *testing.T) {
	table := formatTable(statusTable(&busy))
	want := `
SIGNAL      STATE       TIME OVER  LIMIT  VALUE  BOUND    AGE
cpu         overloaded        62%    40%  99.1%    95%  300ms
memory      overloaded        50%    20%  93.0%    90%  300ms
event_loop  unknown             -    60%      -      -      -
client      disabled            -      -      -      -      -
queue       idle              10%    30%     12    100   1m1s
`
	if got := "\n" + plain(table); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if !strings.Contains(table, "\x1b[") {
		t.Error("the table has no styles")
	}
}

func TestVerdictNamesWhatBindsTheFurthestOverFirst(t *testing.T) {
	if got, want := verdict(&busy), "overloaded: memory 50% > 20%, cpu 62% > 40%"; got != want {
		t.Errorf("verdict = %q, want %q", got, want)
	}
	if got, want := verdict(&snapshot.Status{State: snapshot.StateIdle}), "idle"; got != want {
		t.Errorf("verdict = %q, want %q", got, want)
	}
	if got, want := strings.Join(reasons(&busy), "|"), "event_loop: no reading\ufffd[2J"; got != want {
		t.Errorf("reasons = %q, want %q", got, want)
	}
}

func TestWatchLine(t *testing.T) {
	at := time.Date(2026, 11, 21, 18, 28, 2, 0, time.Local)
	newest := []snapshot.Snapshot{
		{Signal: "cpu", Resource: snapshot.CPU, Value: 0.991, Overloaded: true},
		{Signal: "memory", Resource: snapshot.Memory, Unknown: "no such file"},
		{Signal: "event_loop", Resource: snapshot.EventLoop, Value: 0.0012},
	}
	got := watchHeader + "\n" + plain(watchLine(at, newest, &busy))
	want := `TIME          CPU   MEMORY  EVENT LOOP  CLIENT  VERDICT
18:28:02   99.1%!        ?       1.2ms       -  overloaded: memory 50% > 20%, cpu 62% > 40%
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWatchColumnsStandUnderTheirHeads(t *testing.T) {
	idle := snapshot.Status{State: snapshot.StateIdle}
	column := strings.Index(watchHeader, "VERDICT")
	for _, delay := range []float64{0.00066, 0.013, 1.5} { // in µs, ms and s
		newest := []snapshot.Snapshot{{Signal: snapshot.SignalEventLoop, Resource: snapshot.EventLoop, Value: delay}}
		line := plain(watchLine(time.Time{}, newest, &idle))
		before, _, _ := strings.Cut(line, "idle")
		if got := utf8.RuneCountInString(before); got != column {
			t.Errorf("%q: the verdict stands at %d, want %d", line, got, column)
		}
	}
}

func TestWatchRepeatsItsHeaderOnATerminal(t *testing.T) {
	for _, tt := range []struct {
		terminal bool
		want     int
	}{{true, 3}, {false, 1}} {
		var b strings.Builder
		show := showLines(&b, tt.terminal)
		for range 2*headerEvery + 1 {
			if err := show(client.State{Current: busy}); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Count(b.String(), watchHeader); got != tt.want {
			t.Errorf("terminal %v: %d headers, want %d", tt.terminal, got, tt.want)
		}
	}
}

func TestWatchJSONStatesWhatStartedForEachStream(t *testing.T) {
	var out, errs strings.Builder
	show := showJSON(func() time.Duration { return 0 }, &out, &errs)
	one := client.State{Started: client.Started{InstanceID: "one"}}
	two := client.State{Started: client.Started{InstanceID: "two"}}
	stale := one
	stale.Stale = true
	for _, state := range []client.State{one, one, stale, one, two, two} {
		if err := show(state); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		switch {
		case strings.Contains(line, `"instance_id":"one"`):
			got = append(got, "one")
		case strings.Contains(line, `"instance_id":"two"`):
			got = append(got, "two")
		default:
			got = append(got, "-")
		}
	}
	if text := strings.Join(got, " "); text != "one - one two -" {
		t.Errorf("started: %s, want one - one two -", text)
	}
	if n := strings.Count(errs.String(), "stale"); n != 1 {
		t.Errorf("standard error says %q", errs.String())
	}
}

func TestStaleLine(t *testing.T) {
	now := time.Date(2026, 11, 21, 18, 28, 2, 0, time.Local)
	state := client.State{Stale: true, Received: now.Add(-3200 * time.Millisecond), Cause: errors.New("client: gone\x1b")}
	if got, want := staleLine(state, now), "18:28:02  stale, nothing for 3.2s: gone\ufffd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := staleLine(client.State{Stale: true}, now), "18:28:02  stale"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSampleTable(t *testing.T) {
	at := time.Date(2026, 11, 21, 18, 28, 2, 5e6, time.Local)
	sample := []snapshot.Snapshot{
		{Signal: "cpu", Resource: snapshot.CPU, Time: at, Value: 0.5, Limit: 0.95, CPU: snapshot.CPUReading{Cores: 1.5}},
		{Signal: "memory", Resource: snapshot.Memory, Time: at, Value: 0.95, Limit: 0.9, Overloaded: true,
			Memory: snapshot.MemoryReading{Used: 19 << 27, Max: 20 << 27}},
		{Signal: "event_loop", Resource: snapshot.EventLoop, Time: at, Value: 0.051, Limit: 0.05, Overloaded: true,
			EventLoop: snapshot.EventLoopReading{Judged: snapshot.LoopTimer}},
		{Signal: "client", Resource: snapshot.Client, Time: at, Unknown: "nobody\nreports"},
		{Signal: "pressure_memory", Resource: snapshot.Pressure, Time: at, Value: 0.31, Limit: 0.2, Overloaded: true,
			Pressure: snapshot.PressureReading{Some: 0.31, Full: 0.04, FullKnown: true}},
		{Signal: "cpu", Resource: snapshot.CPU, Time: at, Value: 0.5, Limit: 0.95,
			CPU: snapshot.CPUReading{Cores: 1, HostKnown: true, Hottest: 0.97, ThrottledKnown: true, Throttled: 0.125}},
	}
	table := formatTable(sampleTable(sample))
	want := `
TIME          SIGNAL           STATE       VALUE  LIMIT  DETAIL
18:28:02.005  cpu              idle        50.0%    95%  of 1.5 cores
18:28:02.005  memory           overloaded  95.0%    90%  2.4GiB of 2.5GiB
18:28:02.005  event_loop       overloaded   51ms   50ms  by timer
18:28:02.005  client           unknown         -      -  nobody` + "\ufffd" + `reports
18:28:02.005  pressure_memory  overloaded  31.0%    20%  some 31%, full 4%
18:28:02.005  cpu              idle        50.0%    95%  of 1 core, hottest 97%, throttled 12%
`
	if got := "\n" + plain(table); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
