package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strings"
	"time"
)

// sampler makes the snapshots of one signal, on one goroutine. A snapshot is made in two steps with the
// time of the reading between them.
type sampler interface {
	// fetch reads the source into the raw numbers of snap. It may block until ctx is done.
	fetch(ctx context.Context, snap *Snapshot) error

	// judge completes snap: Value, Limit, Overloaded and Source, by the raw numbers and by At. It touches
	// no clock and no source.
	judge(snap *Snapshot) error
}

// A panicError is a panic of a function that the program gave.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// fetch calls the sampler's fetch and turns a panic of the program's function into an error.
func fetch(ctx context.Context, s sampler, snap *Snapshot) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return s.fetch(ctx, snap)
}

func unknownReason(err error) string {
	const longest = 512
	reason := err.Error()
	if len(reason) > longest {
		reason = strings.ToValidUTF8(reason[:longest], "")
	}
	return cmp.Or(reason, "the source gave an error without a text")
}

func isFinite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// cpuSampler judges the share of the CPUs in use.
type cpuSampler struct {
	read  func(context.Context) (CPUReading, error)
	limit float64
}

func (c *cpuSampler) fetch(ctx context.Context, snap *Snapshot) (err error) {
	snap.CPU, err = c.read(ctx)
	return err
}

func (c *cpuSampler) judge(snap *Snapshot) error {
	used := snap.CPU.Used
	if !isFinite(used) || used < 0 {
		return fmt.Errorf("%s gave a used share of %v", sourceName(snap.CPU.Source), used)
	}
	snap.Value, snap.Limit = used, c.limit
	snap.Overloaded = used > c.limit
	snap.Source = snap.CPU.Source
	return nil
}

func sourceName(name string) string {
	if name == "" {
		return "the source"
	}
	return name
}

// previous remembers a counter or a time from one snapshot to the next, by the rule of a profile for which
// snapshot is the previous one: the newest by time in crawlee-python, the last made in the others, and in
// crawlee-js none that is older than the history.
type previous struct {
	profile Profile
	history time.Duration
	at      time.Duration
	count   int64
	ok      bool
}

// get returns the previous time and count as seen from now.
func (p *previous) get(now time.Duration) (at time.Duration, count int64, ok bool) {
	if p.profile == ProfileCrawleeJS && now-p.at > p.history {
		return 0, 0, false
	}
	return p.at, p.count, p.ok
}

func (p *previous) set(at time.Duration, count int64) {
	// Where the clock went back by more than the history, that begins anew, and so does this.
	if p.profile == ProfileCrawleePython && p.ok && at < p.at && p.at-at <= p.history {
		return
	}
	p.at, p.count, p.ok = at, count, true
}

// clientSampler judges the new rate-limit errors of this program and of the workers that report.
type clientSampler struct {
	read       func() map[int]int64 // nil for none of its own
	reports    *Reports             // nil when nobody reports
	limit      int64
	retryIndex int
	last       previous
}

func (c *clientSampler) fetch(_ context.Context, snap *Snapshot) error {
	if c.read != nil {
		snap.Client.Total = c.read()[c.retryIndex]
	}
	return nil
}

func (c *clientSampler) judge(snap *Snapshot) error {
	r := &snap.Client
	r.RetryIndex = c.retryIndex
	_, before, ok := c.last.get(snap.At)
	c.last.set(snap.At, r.Total)
	if ok || c.last.profile == ProfileCrawleePython {
		r.New = r.Total - before
	}
	snap.Source = "rate-limit errors of this program"
	if c.read == nil {
		snap.Source = "nobody counts rate-limit errors"
	}
	if c.reports != nil {
		reported := c.reports.takeClientErrors(snap.At, c.retryIndex)
		r.Total = addCounts(max(r.Total, 0), reported.total)
		r.Reporters = reported.reporters
		if reported.known && (c.read == nil || reported.errors > r.New) {
			r.New = reported.errors
			snap.Source = "rate-limit errors that workers reported"
		}
	}
	snap.Value, snap.Limit = float64(r.New), float64(c.limit)
	snap.Overloaded = r.New > c.limit
	return nil
}

// customSampler judges a value of the program's own, or one that stands in for a built-in signal.
type customSampler struct {
	read    func(context.Context) (value, limit float64, err error)
	source  string
	reports *Reports // nil when nobody reports, or may report this signal
}

func (c *customSampler) fetch(ctx context.Context, snap *Snapshot) (err error) {
	snap.Value, snap.Limit, err = c.read(ctx)
	return err
}

func (c *customSampler) judge(snap *Snapshot) error {
	if !isFinite(snap.Value) || !isFinite(snap.Limit) {
		return fmt.Errorf("%s gave a value of %v and a limit of %v", sourceName(c.source), snap.Value, snap.Limit)
	}
	snap.Source = c.source
	switch snap.Resource {
	case CPU:
		snap.CPU = CPUReading{Used: snap.Value, Source: c.source}
	case EventLoop:
		snap.EventLoop.Delay = time.Duration(snap.Value * float64(time.Second))
	case Client:
		snap.Client.New = int64(snap.Value)
	case Pressure:
		snap.Pressure = PressureReading{Stalled: stalledResource(snap.Signal), Some: snap.Value, Source: c.source}
	case Custom:
		if c.reports != nil {
			worst, reporters := c.reports.signal(snap.At, snap.Signal)
			snap.Custom.Reporters = reporters
			if reporters > 0 && worse(worst, ReportedSignal{snap.Value, snap.Limit}) {
				snap.Value, snap.Limit = worst.Value, worst.Limit
				snap.Source = sourceReported
			}
		}
	}
	snap.Overloaded = snap.Value > snap.Limit
	return nil
}

const sourceReported = "reports of workers"

// reportedSampler judges a signal that only workers report.
type reportedSampler struct {
	reports *Reports
}

var errNoReporter = errors.New("no worker reports it any more")

func (r *reportedSampler) fetch(context.Context, *Snapshot) error { return nil }

func (r *reportedSampler) judge(snap *Snapshot) error {
	worst, reporters := r.reports.signal(snap.At, snap.Signal)
	if reporters == 0 {
		return errNoReporter
	}
	snap.Custom.Reporters = reporters
	snap.Value, snap.Limit = worst.Value, worst.Limit
	snap.Overloaded = worst.Value > worst.Limit
	snap.Source = sourceReported
	return nil
}
