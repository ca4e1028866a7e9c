package severity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

const (
	// minSpacing keeps many fast signals from setting the pace.
	minSpacing = 100 * time.Millisecond

	// slack is how much early a signal of that interval may come, for timers are late by more or less.
	slack = 5 * time.Millisecond

	// maxSpacing is how late a hold-for or a dwell may end when no snapshot comes.
	maxSpacing = time.Second

	processDeadline = time.Second
)

// ErrRunning reports that Run was called while the Runner runs.
var ErrRunning = errors.New("severity: already running")

// RunnerConfig says what a [Runner] runs.
type RunnerConfig struct {
	// Config is that of the Engine.
	Config Config

	// View returns what to judge, and a channel that is closed when there is something newer; it may be the
	// method of a snapshot.Snapshotter. While it returns an error, the level is held. It must not block.
	// Required.
	View func() (snapshot.View, <-chan struct{}, error)

	// Reader says how views are read. Its Signals are those that the conditions name.
	Reader ReaderConfig

	// Process reads the process that the Local conditions look at, for up to 1 s, on a goroutine of its own.
	// nil means the process that the view is about, if any. Its At may be left zero.
	Process func(context.Context) (Process, error)

	// EverySnapshot evaluates whenever there is a newer snapshot, up to ten times a second, and at least once
	// a second; by default it is every Config.CheckInterval.
	EverySnapshot bool

	// Handlers are told of events. Optional; the Runner does not close them.
	Handlers *Handlers

	// Log gets each transition as a warning, unless SilentTransitions is true, and why nothing can be judged.
	// The default discards it.
	Log               *slog.Logger
	SilentTransitions bool
}

// Report is what is known of the severity at one instant. It is a value that nothing changes.
type Report struct {
	// Outcome is what the last evaluation decided; its Events are nil.
	Outcome

	// At and Time are when that was; zero before the first one.
	At   time.Duration
	Time time.Time

	// Memory, Process and Exhaustion are what it looked at.
	Memory     Memory
	Process    Process
	Exhaustion Exhaustion

	// Err is why nothing can be judged now, or nil. The Outcome is then that of the last evaluation.
	Err error
}

// Runner feeds an [Engine] and publishes what it decides. All methods are safe for concurrent use and none
// but Run blocks.
type Runner struct {
	cfg     RunnerConfig
	engine  *Engine
	reader  *Reader
	history History
	reading atomic.Bool // a call of Process goes on

	mu      sync.Mutex // guards the Engine's Step, Stop and Resume
	running bool
	report  Report
	changed chan struct{} // closed when report is no longer the newest
}

// NewRunner returns a Runner at level 0. It reports every fault of c at once and starts nothing.
func NewRunner(c RunnerConfig) (*Runner, error) {
	engine, err := New(c.Config)
	if c.View == nil {
		err = errors.Join(err, errors.New("severity: config: View: required"))
	}
	if c.Reader.MaxMemory < 0 {
		err = errors.Join(err, fmt.Errorf("severity: config: Reader.MaxMemory: %d bytes is negative", c.Reader.MaxMemory))
	}
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Config = engine.Config()
	c.Reader.Signals = engine.RateSignals()
	return &Runner{cfg: c, engine: engine, reader: NewReader(c.Reader), changed: make(chan struct{})}, nil
}

// Latest returns the newest report and a channel that is closed when there is a newer one. A slow caller
// misses reports; [Runner.History] has all transitions.
func (r *Runner) Latest() (Report, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.report, r.changed
}

// History returns the last transitions.
func (r *Runner) History() *History { return &r.history }

// Config returns the config of the Engine, with its defaults.
func (r *Runner) Config() Config { return r.engine.Config() }

// Stop freezes the level; see [Engine.Stop].
func (r *Runner) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.engine.Stop()
}

// Resume ends Stop; see [Engine.Resume].
func (r *Runner) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.engine.Resume()
}

// Run evaluates until ctx is done, then returns nil. The first evaluation is at once. While it runs, a second
// call returns ErrRunning; after it returned it may be called again, and the level is as it was. It evaluates
// on the caller's goroutine, and only [Custom] functions and Process run on others: one that ignores its
// context outlives Run.
func (r *Runner) Run(ctx context.Context) error {
	if !r.setRunning(true) {
		return ErrRunning
	}
	defer r.setRunning(false)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	due := time.Now()
	for ctx.Err() == nil {
		began := time.Now()
		changed := r.evaluate(ctx)
		if r.cfg.EverySnapshot {
			r.awaitChange(ctx, timer, changed, began)
			continue
		}
		due = nextTick(due, time.Now(), r.cfg.Config.CheckInterval)
		await(ctx, timer, time.Until(due), nil)
	}
	return nil
}

// awaitChange waits for something newer than what an evaluation that began then looked at, or until the next one is
// due without. What comes too soon after the evaluation waits until another may begin, and a little longer, for what is
// read at just that time: else what is read ten times a second would be looked at shortly before it is read, for ever.
func (r *Runner) awaitChange(ctx context.Context, timer *time.Timer, changed <-chan struct{}, began time.Time) {
	if !await(ctx, timer, min(maxSpacing, r.cfg.Config.CheckInterval), changed) {
		return
	}
	if since := time.Since(began); since < minSpacing-slack {
		await(ctx, timer, minSpacing+slack/2-since, nil)
	}
}

// await waits for d, or until ctx is done or changed is closed, which it reports.
func await(ctx context.Context, timer *time.Timer, d time.Duration, changed <-chan struct{}) bool {
	timer.Reset(d)
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-changed:
		return true
	}
	return false
}

func (r *Runner) setRunning(running bool) (ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if running && r.running {
		return false
	}
	r.running = running
	return true
}

// nextTick returns the first tick of a grid after now; due is the last one.
func nextTick(due, now time.Time, interval time.Duration) time.Time {
	missed := now.Sub(due) / interval
	return due.Add((missed + 1) * interval)
}

// evaluate looks once, and returns the channel that tells of something newer.
func (r *Runner) evaluate(ctx context.Context) (changed <-chan struct{}) {
	view, changed, err := r.cfg.View()
	if err != nil {
		r.fail(ctx, err)
		return nil
	}
	in := r.reader.Read(view)
	r.readProcess(ctx, &in)
	r.engine.Ask(ctx, &in)
	if ctx.Err() != nil {
		return changed
	}
	events, held := r.step(in)
	for _, e := range events {
		r.tell(ctx, e)
	}
	if held != nil {
		r.cfg.Log.WarnContext(ctx, "severity unknown, level held", "why", why(held))
	}
	return changed
}

func (r *Runner) readProcess(ctx context.Context, in *Input) {
	if r.cfg.Process == nil {
		return
	}
	process, err := within(ctx, processDeadline, &r.reading, r.cfg.Process)
	if err != nil {
		in.Process = Process{Reason: err.Error()}
		return
	}
	if process.At == 0 {
		process.At = in.At
	}
	in.Process = process
}

// step has the Engine decide, publishes that, and returns the events, and what is unknown if that holds the
// level since just now.
func (r *Runner) step(in Input) (events []Event, held []Evidence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.engine.Step(in)
	events = slices.Clone(out.Events)
	for _, e := range events {
		if e.Kind == Entered || e.Kind == Left {
			// The Engine numbers without gaps, so it follows.
			_ = r.history.Append(e.Transition)
		}
	}
	out.Events = nil
	out.Firing, out.Unknown = slices.Clone(out.Firing), slices.Clone(out.Unknown)
	process := in.Process
	if r.cfg.Config.ProcessMax > 0 {
		process.Max = r.cfg.Config.ProcessMax
	}
	if out.Held == HeldUnknown && r.report.Held != HeldUnknown {
		held = out.Unknown
	}
	r.publishLocked(Report{
		Outcome: out, At: in.At, Time: in.Time, Memory: in.Memory, Process: process, Exhaustion: in.Exhaustion,
	})
	return events, held
}

// fail publishes that nothing can be judged.
func (r *Runner) fail(ctx context.Context, err error) {
	r.mu.Lock()
	report := r.report
	again := report.Err != nil
	report.Err = err
	r.publishLocked(report)
	r.mu.Unlock()
	if !again {
		r.cfg.Log.WarnContext(ctx, "severity unknown, level held", "level", report.Level, "error", err)
	}
}

func (r *Runner) publishLocked(report Report) {
	r.report = report
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Runner) tell(ctx context.Context, e Event) {
	switch h := r.cfg.Handlers; e.Kind {
	case Entered, Left:
		if !r.cfg.SilentTransitions {
			r.cfg.Log.WarnContext(ctx, "severity level changed",
				"from", e.Transition.From, "to", e.Transition.To, "why", why(e.Transition.Evidence))
		}
		if h != nil {
			h.Apply(e.Transition)
		}
	case Remaining:
		if h != nil {
			h.Remain(e.Level)
		}
	}
}

// why returns evidence for people.
func why(evidence []Evidence) string {
	var b strings.Builder
	for i, e := range evidence {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(e.String())
	}
	return b.String()
}

// String returns the leaf, its value and its age, or why nothing is known of it.
func (e Evidence) String() string {
	age := e.Age.Truncate(10 * time.Millisecond)
	switch {
	case e.Truth == Unknown:
		return fmt.Sprintf("%s is unknown: %s", e.Text, e.Reason)
	case e.HasValue:
		return fmt.Sprintf("%s is %v: %s %.4g %s, bound %.4g, %v old",
			e.Text, e.Truth, e.Signal, e.Value, e.Unit, e.Bound, age)
	default:
		return fmt.Sprintf("%s is %v", e.Text, e.Truth)
	}
}
