package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

func TestHostSettingsAccept(t *testing.T) {
	for text, want := range map[string]bool{
		"own": true, "host": true, "/": true, "/kubepods/pod1": true,
		"": false, "kubepods": false, "/a/../b": false, "/a/": false, "//a": false,
	} {
		if got := checkCgroup(text) == nil; got != want {
			t.Errorf("cgroup %q is accepted: %v, want %v", text, got, want)
		}
	}
	if checkAbsolute("host") == nil || checkAbsolute("") != nil {
		t.Error("host-root is a path that is not absolute")
	}
}

// What is disabled is not sampled, and Crawlee's profiles have no signals of the host beyond its own.
func TestSampling(t *testing.T) {
	c := newServeSettings()
	h, err := c.host.open()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, s := range h.Signals() {
		if !slices.Contains(hostSignals, s.Name) {
			t.Errorf("%s cannot be disabled", s.Name)
		}
	}
	c.snapshot.Disabled = append([]string{snapshot.SignalCPU}, hostSignals...)
	conf := c.sampling(h)
	if len(conf.Signals) > 0 || !slices.Equal(conf.Disabled, []string{snapshot.SignalCPU}) {
		t.Errorf("sampled %v without %v, want neither of %v", conf.Signals, conf.Disabled, hostSignals)
	}
	if got := c.sampling(h).Sources.CPU; got == nil {
		t.Error("no source")
	}
	c = newServeSettings()
	c.snapshot.Profile = snapshot.ProfileCrawleeJS
	if conf := c.sampling(h); len(conf.Signals) > 0 {
		t.Errorf("sampled %v with the profile crawlee-js", conf.Signals)
	}
}

func TestHostMetrics(t *testing.T) {
	c := newServeSettings()
	h, err := c.host.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Sources().Memory(context.Background()); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if _, err := h.Sources().Memory(context.Background()); err == nil {
		t.Fatal("memory was read after Close")
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(hostCollector{h})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetValue() == snapshot.SignalMemory {
					got[family.GetName()] = m.GetCounter().GetValue()
				}
			}
		}
	}
	if got["headroom_source_reads_total"] != 1 || got["headroom_source_errors_total"] != 0 || got["headroom_source_seconds_total"] <= 0 {
		t.Errorf("%v, want one reading without an error that took some time", got)
	}
}

// What a text may say at most, `headroom config` and the server both accept.
func TestTheLargestLevels(t *testing.T) {
	long := strings.Repeat("recovering() || ", 63) + "recovering()"
	deep := strings.Repeat("!(", 15) + "!any_overloaded() && recovering()" + strings.Repeat(")", 15)
	s, _, wrong := takeLevels("levels:\n- when: " + long + "\n  leave: " + long + "\n- when: '" + deep + "'\n  leave: '" + deep + "'")
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	levels := conditions(s.levels)
	if len(levels) != 2 {
		t.Fatalf("%d levels, want 2", len(levels))
	}
	if _, err := severity.New(severity.Config{Levels: levels}); err != nil {
		t.Error(err)
	}
	if _, err := server.New(server.Config{Levels: levels}); strings.Contains(err.Error(), "Levels") {
		t.Errorf("the server refuses what config accepts: %v", err)
	}
}
