package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/headroom-rpc/headroom/snapshot"
)

// defaultFile is read when no other file is named, if it exists.
const defaultFile = "/etc/headroom/headroom.yaml"

// A loader takes the settings of `headroom serve` from where they are given: the defaults, the file, the
// environment and the flags, the later the stronger.
type loader struct {
	settings *serveSettings
	table    []setting
	flags    *pflag.FlagSet
	path     string // of --config
	given    func() []given
}

// newLoader defines the flags of all settings on cmd.
func newLoader(cmd *cobra.Command) *loader {
	l := &loader{settings: newServeSettings(), flags: cmd.Flags()}
	l.table = l.settings.table()
	describeDefaults(l.table)
	l.flags.SortFlags = false
	l.flags.StringVar(&l.path, "config", "", "file of settings, YAML (default "+defaultFile+", if it exists)")
	l.given = addFlags(l.flags, l.table)
	for i := range l.table {
		completeFlag(cmd, &l.table[i])
	}
	return l
}

// describeDefaults sets the words for the default of each setting that has none of its own.
func describeDefaults(table []setting) {
	d := newServeSettings()
	d.fill()
	for i, s := range d.table() {
		if table[i].unset == "" {
			table[i].unset = s.value.String()
		}
	}
}

// An effective is what holds in the end.
type effective struct {
	settings *serveSettings
	table    []setting
	origin   map[string]string // by the name of the setting; none for a default
	file     string            // that was read; empty for none
	warnings []string
}

// load returns the settings in force, or every fault of the file, the environment and the flags as an
// exitError.
func (l *loader) load() (*effective, error) {
	e := &effective{settings: l.settings, table: l.table}
	fromFile, wrong := e.readFile(l)
	fromFile, inLevels := e.settings.severity.take(fromFile)
	wrong = append(wrong, inLevels...)
	fromFile, inPermits := e.settings.permits.take(fromFile)
	wrong = append(wrong, inPermits...)
	fromFile, inDiagnostics := inSection(fromFile)
	wrong = append(wrong, inDiagnostics...)
	origin, more := apply(l.table, fromFile, fromEnvironment(l.table, os.LookupEnv), l.given())
	if wrong = append(wrong, more...); len(wrong) > 0 {
		return nil, &exitError{exitUsage, wrong}
	}
	e.origin = origin
	e.settings.fill()
	if wrong := e.settings.conflicts(origin); len(wrong) > 0 {
		return nil, &exitError{exitUsage, wrong}
	}
	// What is left is what no single setting shows, such as a history of too many snapshots.
	h, err := e.settings.host.open()
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	defer h.Close() // it never fails
	if _, err := snapshot.New(e.settings.sampling(h)); err != nil {
		return nil, &exitError{exitUsage, errors.New("settings that do not go together: " + inSettings.Replace(err.Error()))}
	}
	e.warnings = misspelt(l.table, os.Environ())
	return e, nil
}

// inSettings says in the words of the settings what the Snapshotter says in those of its fields.
var inSettings = strings.NewReplacer("snapshot: config: ", "", "History", "history", "CPUInterval", "cpu-interval",
	"MemoryInterval", "memory-interval", "EventLoopInterval", "event-loop-interval", "ClientInterval", "client-interval",
	"PressureInterval", "pressure-interval")

// readFile reads the file that --config or $HEADROOM_CONFIG names, or else the default one if it exists.
func (e *effective) readFile(l *loader) ([]given, faults) {
	path := os.Getenv("HEADROOM_CONFIG")
	if l.flags.Changed("config") {
		path = l.path
	}
	if path == "" {
		if _, err := os.Stat(defaultFile); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		path = defaultFile
	}
	e.file = path
	return readFile(path)
}
