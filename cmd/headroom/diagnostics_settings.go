package main

import (
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/headroom-rpc/headroom/diagnostics"
	"github.com/headroom-rpc/headroom/server"
)

// diagnosticsSection is the section of the file that says what may be recorded. Its keys are the settings without
// diagnosticsPrefix.
const (
	diagnosticsSection = "diagnostics"
	diagnosticsPrefix  = diagnosticsSection + "-"
)

// artifactsDir is the directory of artifacts within the state directory.
const artifactsDir = "artifacts"

// diagnosticsSettings say what may be recorded of tasks, and how long it is kept.
type diagnosticsSettings struct{ config server.DiagnosticsConfig }

// newDiagnosticsSettings returns the settings that hold when nothing is given: nothing is recorded.
func newDiagnosticsSettings() diagnosticsSettings {
	return diagnosticsSettings{server.DiagnosticsConfig{
		TTL: diagnostics.DefaultTTL, FailedTTL: diagnostics.DefaultFailedTTL, MaxBytes: diagnostics.DefaultMaxBytes,
		MaxArtifactBytes: diagnostics.DefaultMaxArtifactBytes, MaxArtifacts: diagnostics.DefaultMaxArtifacts,
		MemoryInterval: diagnostics.DefaultMemoryInterval, MaxProfiles: server.DefaultMaxProfiles,
		MaxSeverity: server.DefaultMaxSeverity, MaxRecordings: server.DefaultMaxRecordings,
		MaxTransfers: server.DefaultMaxTransfers, URLTTL: server.DefaultURLTTL,
	}}
}

func (d *diagnosticsSettings) settings() []setting {
	c := &d.config
	accepts := "a list of any of " + orList(diagnostics.Names())
	list := func(name string, p *[]string, help string) setting {
		return listSetting(diagnosticsPrefix+name, "recorders", p, accepts, checkRecorder, help)
	}
	const year = 365 * 24 * time.Hour
	return []setting{
		list("allow", &c.Allow, "recorders that a task may ask for; none switches diagnostics off"),
		list("always", &c.Always, "recorders that record every task, at its cost; see docs/diagnostics.md"),
		durationSetting(diagnosticsPrefix+"ttl", &c.TTL, time.Minute, year, "how long an artifact is kept"),
		durationSetting(diagnosticsPrefix+"failed-ttl", &c.FailedTTL, time.Minute, year,
			"how long an artifact of a task that failed is kept"),
		sizeSetting(diagnosticsPrefix+"max-size", &c.MaxBytes, 1<<20, 1<<50,
			"size of all artifacts; for more room the first to expire are deleted, of who has most"),
		sizeSetting(diagnosticsPrefix+"max-artifact-size", &c.MaxArtifactBytes, 1<<10, 1<<40, "size of one artifact"),
		countSetting(diagnosticsPrefix+"max-artifacts", &c.MaxArtifacts, 1, 1_000_000, "artifacts that are kept"),
		durationSetting(diagnosticsPrefix+"memory-interval", &c.MemoryInterval, 100*time.Millisecond, time.Hour,
			"least time between two samples of a memory log"),
		countSetting(diagnosticsPrefix+"max-profiles", &c.MaxProfiles, 1, 1000,
			"processes that may be profiled at a time because they ask"),
		countSetting(diagnosticsPrefix+"max-severity", &c.MaxSeverity, 1, 100,
			"severity level from which on no task may ask for a profile"),
		countSetting(diagnosticsPrefix+"max-recordings", &c.MaxRecordings, 1, 100_000,
			"recordings that go on; one identity that is no operator has a quarter"),
		countSetting(diagnosticsPrefix+"max-transfers", &c.MaxTransfers, 1, 100_000,
			"uploads and downloads that go on; one identity that is no operator has a quarter"),
		durationSetting(diagnosticsPrefix+"url-ttl", &c.URLTTL, 10*time.Second, time.Hour, "how long a signed URL is good"),
	}
}

// checkRecorder accepts the names of recorders, Pulp's too.
func checkRecorder(name string) error {
	if _, ok := diagnostics.Lookup(name); ok {
		return nil
	}
	if near := nearest(name, diagnostics.Names()); near != "" {
		return hint("did you mean " + near + "?")
	}
	return errNotAccepted
}

// server returns what a server takes for the settings. stateDir may be off.
func (d *diagnosticsSettings) server(stateDir string) server.DiagnosticsConfig {
	c := d.config
	if stateDir != off && d.on() {
		c.Dir = filepath.Join(stateDir, artifactsDir)
	}
	return c
}

func (d *diagnosticsSettings) on() bool { return len(d.config.Allow)+len(d.config.Always) > 0 }

// conflicts reports settings that do not go together.
func (d *diagnosticsSettings) conflicts(stateDir string, add func(name, text, want string)) {
	if d.on() && stateDir == off {
		name, list := diagnosticsPrefix+"allow", d.config.Allow
		if len(list) == 0 {
			name, list = diagnosticsPrefix+"always", d.config.Always
		}
		add(name, joinList(list), "want a state-dir, to keep artifacts in")
	}
}

// inSection returns what a file gives with the parts of the section of diagnostics as settings of their own, and
// every fault of its form.
func inSection(fromFile []given) ([]given, faults) {
	var flat []given
	var wrong faults
	for _, g := range fromFile {
		if g.name != diagnosticsSection {
			flat = append(flat, g)
			continue
		}
		parser := sectionParser{file: g.file}
		if g.node.Kind != yaml.MappingNode {
			if g.node.Kind != yaml.AliasNode { // which is a fault already
				_, shape := valueOf(g.node)
				parser.fault(g.node.Line, g.name, shape, "want lines of the form allow: [memory]")
			}
		} else {
			parser.entries(g.name, g.node, func(field string, key, value *yaml.Node) {
				text, shape := valueOf(value)
				name := diagnosticsPrefix + key.Value
				if table := (&diagnosticsSettings{}).settings(); find(table, name) == nil {
					var keys []string
					for _, s := range table {
						keys = append(keys, strings.TrimPrefix(s.name, diagnosticsPrefix))
					}
					parser.unknownPart(field, key, "diagnostics", keys)
					return
				}
				flat = append(flat, given{name: name, text: text, shape: shape, where: parser.at(value.Line), line: value.Line})
			})
		}
		wrong = append(wrong, parser.wrong...)
	}
	return flat, wrong
}
