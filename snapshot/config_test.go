package snapshot_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

func read(context.Context) (value, limit float64, err error) { return 0, 1, nil }

func TestZeroConfigHasTheDefaultsOfCrawlee(t *testing.T) {
	c := snapshot.Config{}.WithDefaults()
	for name, ok := range map[string]bool{
		"CPUInterval 1 s":                 c.CPUInterval == time.Second,
		"MemoryInterval 1 s":              c.MemoryInterval == time.Second,
		"EventLoopInterval 500 ms":        c.EventLoopInterval == 500*time.Millisecond,
		"ClientInterval 1 s":              c.ClientInterval == time.Second,
		"MaxCPURatio 0.95":                c.MaxCPURatio == 0.95,
		"MaxMemory by ratio":              c.MaxMemory == 0,
		"AvailableMemoryRatio 0.25":       c.AvailableMemoryRatio == 0.25,
		"MaxMemoryRatio 0.9":              c.MaxMemoryRatio == 0.9,
		"MaxHostMemoryRatio 0.97":         c.MaxHostMemoryRatio == 0.97,
		"ReserveMemoryRatio 0.5":          c.ReserveMemoryRatio == 0.5,
		"MemoryWarningCooldown 10 s":      c.MemoryWarningCooldown == 10*time.Second,
		"MaxEventLoopDelay 50 ms":         c.MaxEventLoopDelay == 50*time.Millisecond,
		"MaxClientErrors 1":               c.MaxClientErrors == 1,
		"ClientRetryIndex 2":              c.ClientRetryIndex == 2,
		"History 30 s":                    c.History == 30*time.Second,
		"CurrentWindow 5 s":               c.CurrentWindow == 5*time.Second,
		"CPUOverloadRatio 0.4":            c.CPUOverloadRatio == 0.4,
		"MemoryOverloadRatio 0.2":         c.MemoryOverloadRatio == 0.2,
		"EventLoopOverloadRatio 0.6":      c.EventLoopOverloadRatio == 0.6,
		"ClientOverloadRatio 0.3":         c.ClientOverloadRatio == 0.3,
		"a clock and a log":               c.Clock != nil && c.Log != nil,
		"nothing disabled":                c.Disabled == nil && c.Signals == nil,
		"three client errors in js":       snapshot.Config{Profile: js}.WithDefaults().MaxClientErrors == 3,
		"all the memory in scope host":    snapshot.Config{Scope: snapshot.ScopeHost}.WithDefaults().AvailableMemoryRatio == 1,
		"but a quarter in crawlee-js":     snapshot.Config{Scope: snapshot.ScopeHost, Profile: js}.WithDefaults().AvailableMemoryRatio == 0.25,
		"and a quarter in crawlee-python": snapshot.Config{Scope: snapshot.ScopeHost, Profile: python}.WithDefaults().AvailableMemoryRatio == 0.25,
		"what is set stays":               snapshot.Config{History: time.Minute}.WithDefaults().History == time.Minute,
	} {
		if !ok {
			t.Errorf("not a default: %s", name)
		}
	}
}

func TestDefaultsOfSignals(t *testing.T) {
	given := []snapshot.Signal{{Name: "queue", Read: read}, {Name: "memory", Read: read}}
	c := snapshot.Config{MemoryOverloadRatio: 0.7, Signals: given}.WithDefaults()
	if got := c.Signals[0]; got.Interval != time.Second || got.OverloadRatio != 0.3 {
		t.Errorf("a custom signal has %v and %v, want 1 s and 0.3", got.Interval, got.OverloadRatio)
	}
	if got := c.Signals[1].OverloadRatio; got != 0.7 {
		t.Errorf("a replaced signal has the threshold %v, want that of the one it replaces, 0.7", got)
	}
	if given[0].Interval != 0 {
		t.Error("WithDefaults changed the caller's signals")
	}
}

func TestNewNamesAllFaults(t *testing.T) {
	_, err := snapshot.New(snapshot.Config{
		Profile:                9,
		Scope:                  9,
		Stale:                  9,
		CPUInterval:            time.Millisecond,
		MemoryInterval:         2 * time.Minute,
		EventLoopInterval:      -time.Second,
		ClientInterval:         49 * time.Millisecond,
		MaxCPURatio:            1.1,
		MaxMemory:              -1,
		AvailableMemoryRatio:   -0.5,
		MaxMemoryRatio:         2,
		MaxHostMemoryRatio:     2,
		ReserveMemoryRatio:     2,
		MemoryWarningCooldown:  time.Millisecond,
		MaxEventLoopDelay:      time.Microsecond,
		MaxClientErrors:        -1,
		ClientRetryIndex:       1001,
		History:                2 * time.Hour,
		CurrentWindow:          3 * time.Hour,
		CPUOverloadRatio:       2,
		MemoryOverloadRatio:    2,
		EventLoopOverloadRatio: 2,
		ClientOverloadRatio:    2,
		Disabled:               []string{"disk", "client", "client"},
		Signals: []snapshot.Signal{
			{Name: "Queue", Read: read, Interval: time.Hour, OverloadRatio: 3, Stale: 7},
			{Name: "queue", Read: read},
			{Name: "queue"},
			{Name: "client", Read: read},
			{Name: "pressure", Read: read},
			{Name: "", Read: read},
			{Name: strings.Repeat("x", 65), Read: read},
		},
	})
	if err == nil {
		t.Fatal("New = nil error")
	}
	for _, want := range []string{
		"Profile: 9", "Scope: 9", "Stale: 9",
		"CPUInterval: 1ms is outside 50ms to 1m0s", "MemoryInterval: 2m0s", "EventLoopInterval: -1s", "ClientInterval: 49ms",
		"History and CPUInterval: 2h0m0s at every 1ms is more than 4096 snapshots",
		"MaxCPURatio: 1.1 is outside (0, 1]", "MaxMemory: -1", "AvailableMemoryRatio: -0.5", "MaxMemoryRatio: 2",
		"MaxHostMemoryRatio: 2", "ReserveMemoryRatio: 2", "MemoryWarningCooldown: 1ms", "MaxEventLoopDelay: 1µs",
		"MaxClientErrors: -1", "ClientRetryIndex: 1001 is outside 1 to 1000", "History: 2h0m0s is outside 5s to 1h0m0s",
		"CurrentWindow: 3h0m0s", "CPUOverloadRatio: 2", "MemoryOverloadRatio: 2", "EventLoopOverloadRatio: 2", "ClientOverloadRatio: 2",
		`Disabled[0]: "disk" is not a built-in signal`, `Disabled[2]: "client" is named twice`,
		`Signals[0].Name: "Queue"`, "Signals[0].Interval: 1h0m0s", "Signals[0].OverloadRatio: 3", "Signals[0].Stale: 7",
		`Signals[2].Name: "queue" is taken by another signal`, "Signals[2].Read: required",
		`Signals[3].Name: "client" is disabled, so it cannot be replaced`, `Signals[4].Name: "pressure" is reserved`,
		`Signals[5].Name: ""`, `Signals[6].Name: "xxx`,
		"Sources.CPU: required", "Sources.Memory: required",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v\nwant it to say %q", err, want)
		}
	}
}

func TestHistoryIsAtMost4096Intervals(t *testing.T) {
	c := snapshot.Config{Sources: calm(), Disabled: []string{"event_loop"}, History: 4096 * time.Second / 10}
	c.CPUInterval = 100 * time.Millisecond
	if _, err := snapshot.New(c); err != nil {
		t.Errorf("4096 snapshots: %v", err)
	}
	c.History += 100 * time.Millisecond
	if _, err := snapshot.New(c); err == nil || !strings.Contains(err.Error(), "History and CPUInterval") {
		t.Errorf("4097 snapshots: %v, want a fault of History and CPUInterval", err)
	}
}

func TestSignalsAreInAFixedOrder(t *testing.T) {
	s, err := snapshot.New(snapshot.Config{
		Sources:  calm(),
		Disabled: []string{snapshot.SignalEventLoop},
		Signals:  []snapshot.Signal{{Name: "zebra", Read: read}, {Name: "apple", Read: read}, {Name: "client", Read: read}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(s.Signals(), " "), "cpu memory client apple zebra"; got != want {
		t.Errorf("Signals = %s, want %s", got, want)
	}
	for name, want := range map[string]snapshot.Resource{
		"cpu": snapshot.CPU, "memory": snapshot.Memory, "client": snapshot.Client, "zebra": snapshot.Custom,
		"event_loop": 0, "none": 0,
	} {
		if got := s.Resource(name); got != want {
			t.Errorf("Resource(%q) = %v, want %v", name, got, want)
		}
	}
	if got := s.History(); got != 30*time.Second {
		t.Errorf("History = %v, want 30 s", got)
	}
}
