package snapshot

import (
	"context"
	"time"
)

// loopSampler judges how late timers, the scheduler and the workers' event loops are.
type loopSampler struct {
	profile   Profile
	wait      time.Duration // what the timer was set to, so that its lateness is that of one snapshot alone
	limit     time.Duration
	reports   *Reports          // nil when nobody reports
	scheduler *schedulerLatency // nil in the crawlee profiles
	prober    *prober           // nil in the crawlee profiles
	last      previous
}

func (l *loopSampler) fetch(context.Context, *Snapshot) error {
	if l.scheduler != nil {
		l.scheduler.fetch()
	}
	return nil
}

func (l *loopSampler) judge(snap *Snapshot) error {
	r := &snap.EventLoop
	before, _, ok := l.last.get(snap.At)
	l.last.set(snap.At, 0)
	if ok {
		r.TimerLag = snap.At - before - l.wait
	}
	if !l.profile.crawlee() {
		l.measure(snap)
	}
	if l.reports != nil {
		r.Reported, r.Reporters = l.reports.loopDelay(snap.At)
	}
	r.judge()
	snap.Source = loopSources[r.Judged]
	snap.Value, snap.Limit = r.Delay.Seconds(), l.limit.Seconds()
	snap.Overloaded = r.Delay > l.limit
	return nil
}

var loopSources = [...]string{
	LoopTimer:     "lateness of the sampler's timer",
	LoopScheduler: "latency of the Go scheduler, p99 of a second",
	LoopProbe:     "lateness of the 10 ms prober",
	LoopReported:  sourceReported,
}

// measure adds what the default profile knows beyond the timer. Across a suspend nothing of it is anybody's
// delay.
func (l *loopSampler) measure(snap *Snapshot) {
	r := &snap.EventLoop
	if snap.Discontinuity {
		l.prober.discard()
		l.scheduler.restart()
		r.TimerLag = 0
		return
	}
	r.TimerLag = max(r.TimerLag, 0)
	r.ProbeMax, r.ProbeKnown = l.prober.take(snap.At)
	r.SchedulerP99, r.SchedulerKnown = l.scheduler.p99()
	if max(r.TimerLag, r.SchedulerP99, r.ProbeMax) > l.limit/2 {
		l.prober.suspect(snap.At)
	}
}

// judge sets Delay to the largest of what is known; of equals the one named first in [LoopSource].
func (r *EventLoopReading) judge() {
	r.Delay, r.Judged = r.TimerLag, LoopTimer
	if r.SchedulerKnown && r.SchedulerP99 > r.Delay {
		r.Delay, r.Judged = r.SchedulerP99, LoopScheduler
	}
	if r.ProbeKnown && r.ProbeMax > r.Delay {
		r.Delay, r.Judged = r.ProbeMax, LoopProbe
	}
	if r.Reporters > 0 && r.Reported > r.Delay {
		r.Delay, r.Judged = r.Reported, LoopReported
	}
}
