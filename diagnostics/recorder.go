package diagnostics

import (
	"slices"
	"strings"
)

// Overhead classes what a recorder costs the task that it records.
type Overhead uint8

// The classes.
const (
	// OverheadUnknown is of what was recorded by other means.
	OverheadUnknown Overhead = iota
	// OverheadLow is under 1 % of a core or of the task's time.
	OverheadLow
	// OverheadMedium is from 1 % to 5 %.
	OverheadMedium
	// OverheadHigh is more: not for production without need.
	OverheadHigh
)

// String returns the name of the class in lower case.
func (o Overhead) String() string {
	switch o {
	case OverheadLow:
		return "low"
	case OverheadMedium:
		return "medium"
	case OverheadHigh:
		return "high"
	default:
		return "unknown"
	}
}

// A Recorder is a way to record a task.
type Recorder struct {
	// Name is how it is asked for, and Aliases are other names for it.
	Name    string
	Aliases []string

	// Artifact is the name of what it makes, and File how a file of that is called.
	Artifact, File string

	// MediaType is that of the content.
	MediaType string

	// Overhead is what it costs; docs/diagnostics.md has the measurements.
	Overhead Overhead

	// Outside is whether the server records it, from outside of the task; else the task does.
	Outside bool

	// Profile is whether it slows the task while it runs, so that few may run at a time.
	Profile bool
}

// The names of recorders.
const (
	RecorderMemory       = "memory"
	RecorderCPU          = "cpu_profile"
	RecorderAllocation   = "allocation_profile"
	RecorderTrace        = "trace"
	RecorderGoroutines   = "goroutines"
	RecorderLogs         = "logs"
	RecorderPyinstrument = "pyinstrument"
	RecorderMemray       = "memray"
	RecorderFile         = "file"
)

const (
	mediaText   = "text/plain; charset=utf-8"
	mediaBinary = "application/octet-stream"
)

var recorders = []Recorder{
	{Name: RecorderMemory, Aliases: []string{"memory_profile"}, Artifact: "memory_profile", File: "memory.datum",
		MediaType: "text/tab-separated-values; charset=utf-8", Overhead: OverheadLow, Outside: true},
	{Name: RecorderCPU, Aliases: []string{"cpu"}, Artifact: "cpu_profile", File: "cpu.pprof",
		MediaType: mediaBinary, Overhead: OverheadMedium, Profile: true},
	{Name: RecorderAllocation, Aliases: []string{"allocations"}, Artifact: "allocation_profile", File: "allocation.pprof",
		MediaType: mediaBinary, Overhead: OverheadLow, Profile: true},
	{Name: RecorderTrace, Artifact: "trace", File: "trace.out", MediaType: mediaBinary, Overhead: OverheadHigh, Profile: true},
	{Name: RecorderGoroutines, Artifact: "goroutines", File: "goroutines.txt", MediaType: mediaText, Overhead: OverheadLow},
	{Name: RecorderLogs, Aliases: []string{"task_logs", "debug-logs"}, Artifact: "task_logs", File: "task.log",
		MediaType: mediaText, Overhead: OverheadLow},
	{Name: RecorderPyinstrument, Aliases: []string{"pyinstrument_profile"}, Artifact: "pyinstrument_profile",
		File: "pyinstrument.html", MediaType: "text/html; charset=utf-8", Overhead: OverheadHigh, Profile: true},
	{Name: RecorderMemray, Aliases: []string{"memray_profile"}, Artifact: "memray_profile", File: "memray.bin",
		MediaType: mediaBinary, Overhead: OverheadHigh, Profile: true},
	{Name: RecorderFile, MediaType: mediaBinary, Overhead: OverheadUnknown},
}

// Recorders returns all that there are, in the order of the documentation. Of RecorderFile the worker names the
// artifact.
func Recorders() []Recorder { return slices.Clone(recorders) }

// Names returns the names of [Recorders].
func Names() []string {
	names := make([]string, len(recorders))
	for i := range recorders {
		names[i] = recorders[i].Name
	}
	return names
}

// Lookup returns the recorder of that name or alias.
func Lookup(name string) (Recorder, bool) {
	for _, r := range recorders {
		if r.Name == name || slices.Contains(r.Aliases, name) {
			return r, true
		}
	}
	return Recorder{}, false
}

// A Refusal names something that was asked for and will not be recorded.
type Refusal struct {
	// Name is what was asked for, without spaces around it.
	Name string

	// Reason is why.
	Reason Reason
}

// Reason is why a recorder was refused.
type Reason uint8

// The reasons.
const (
	// NotKnown is that there is no such recorder.
	NotKnown Reason = iota + 1
	// NotAllowed is that the configuration does not allow it.
	NotAllowed
	// Busy is that as many profiles as may be are being made.
	Busy
	// Severe is that the machine is under too much pressure for a profile.
	Severe
	// NoProcess is that no process was named that the server could record from outside.
	NoProcess
)

// String returns the reason in words.
func (r Reason) String() string {
	switch r {
	case NotKnown:
		return "there is no such recorder"
	case NotAllowed:
		return "the server's configuration does not allow it"
	case Busy:
		return "as many profiles as may be are being made"
	case Severe:
		return "the machine is under too much pressure for a profile"
	case NoProcess:
		return "no process was named that the server can record from outside"
	default:
		return "unknown"
	}
}

// Choose returns what is to be recorded of a task that asks for the given recorders: those that are allowed and
// those that are always recorded, each once, the latter first. Spaces around names do not count, and neither do
// empty names. Each other name is among the refused, once.
func Choose(asked, allowed, always []string) (chosen []Recorder, refused []Refusal) {
	chosenOf := func(name string) bool {
		return slices.ContainsFunc(chosen, func(r Recorder) bool { return r.Name == name })
	}
	for _, name := range always {
		if r, ok := Lookup(name); ok && !chosenOf(r.Name) {
			chosen = append(chosen, r)
		}
	}
	refuse := func(name string, why Reason) {
		if !slices.ContainsFunc(refused, func(r Refusal) bool { return r.Name == name }) {
			refused = append(refused, Refusal{name, why})
		}
	}
	for _, name := range asked {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		r, ok := Lookup(name)
		switch {
		case !ok:
			refuse(name, NotKnown)
		case chosenOf(r.Name):
		case !Allows(allowed, r):
			refuse(name, NotAllowed)
		default:
			chosen = append(chosen, r)
		}
	}
	return chosen, refused
}

// Allows reports whether the list names the recorder by one of its names.
func Allows(list []string, r Recorder) bool {
	return slices.ContainsFunc(list, func(name string) bool { return name == r.Name || slices.Contains(r.Aliases, name) })
}
