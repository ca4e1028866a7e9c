package diagnose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"sync"
	"time"

	"github.com/google/pprof/profile"

	"github.com/headroom-rpc/headroom/diagnostics"
)

// errOtherProfiler reports that something else in the program holds the profiler.
var errOtherProfiler = errors.New("diagnose: CPU profile: something else in this program profiles the CPU")

// cpuProfiler shares the one CPU profiler of the program among sessions.
var cpuProfiler cpuBroker

// cpuBroker runs the profiler in windows while a session takes part. A window ends early when one joins or leaves, so
// that each gets what belongs to it.
type cpuBroker struct {
	mu      sync.Mutex
	shares  []*cpuShare
	changed chan struct{} // closed when one joins or leaves; nil while the profiler rests
}

// cpuShare is the part of one session.
type cpuShare struct {
	session *Session
	joined  time.Time
	left    chan struct{} // closed once the last window was delivered

	leaving, seen bool // seen once it took part in a window; guarded by the broker's mu

	mu      sync.Mutex
	merged  *profile.Profile
	blocked error // why a window is missing
}

func (b *cpuBroker) join(s *Session) *cpuShare {
	share := &cpuShare{session: s, joined: time.Now(), left: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shares = append(b.shares, share)
	if b.changed == nil {
		b.changed = make(chan struct{})
		go b.run()
	} else {
		b.wakeLocked()
	}
	return share
}

func (b *cpuBroker) wakeLocked() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// plan returns who takes part in the next window, what ends it early, and for how long it and the rest after it last:
// as the one wants who wants most. ok is false when nobody is left.
func (b *cpuBroker) plan() (part []*cpuShare, changed <-chan struct{}, window, pause time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shares = slices.DeleteFunc(b.shares, func(c *cpuShare) bool {
		gone := c.leaving && c.seen // one that came and went has a window too, which is empty
		if gone {
			close(c.left)
		}
		return gone
	})
	if len(b.shares) == 0 {
		b.changed = nil
		return nil, nil, 0, 0, false
	}
	window, pause = b.shares[0].session.config.CPUWindow, b.shares[0].session.config.CPUPause
	for _, c := range b.shares {
		window, pause = min(window, c.session.config.CPUWindow), min(pause, c.session.config.CPUPause)
		if c.leaving {
			window, pause = 0, 0
		}
		c.seen = true
	}
	return slices.Clone(b.shares), b.changed, window, pause, true
}

// run profiles until nobody takes part.
func (b *cpuBroker) run() {
	for {
		part, changed, window, pause, ok := b.plan()
		if !ok {
			return
		}
		var text bytes.Buffer
		err := pprof.StartCPUProfile(&text)
		if err != nil {
			err = errors.Join(errOtherProfiler, err)
		}
		early := wait(changed, window)
		if err == nil {
			pprof.StopCPUProfile()
		}
		var taken *profile.Profile
		if err == nil {
			taken, err = profile.ParseData(text.Bytes())
		}
		for _, c := range part {
			c.deliver(taken, err)
		}
		if !early && pause > 0 {
			wait(changed, pause)
		}
	}
}

// wait waits for d, and reports whether changed ended that.
func wait(changed <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-changed:
		return true
	case <-timer.C:
		return false
	}
}

// deliver adds a window to the profile of the session and uploads that, on a goroutine of its own.
func (c *cpuShare) deliver(taken *profile.Profile, err error) {
	if err != nil {
		c.mu.Lock()
		c.blocked = err
		c.mu.Unlock()
		return
	}
	own := taken
	if c.session.labelled.Load() {
		own = ofRun(taken, c.session.recording.Run)
	}
	if c.add(own) != nil {
		return // told at the end
	}
	c.session.work.Go(func() { c.session.attempt(diagnostics.RecorderCPU, c.upload(c.session.ctx)) })
}

// ofRun returns the samples that are labelled with the run.
func ofRun(p *profile.Profile, run string) *profile.Profile {
	own := p.Copy()
	own.Sample = slices.DeleteFunc(own.Sample, func(s *profile.Sample) bool { return !slices.Contains(s.Label[label], run) })
	return own.Compact()
}

func (c *cpuShare) add(own *profile.Profile) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.merged == nil {
		c.merged = own
		return nil
	}
	merged, err := profile.Merge([]*profile.Profile{c.merged, own})
	if err != nil {
		c.blocked = fmt.Errorf("diagnose: CPU profile: merge: %w", err)
		return err
	}
	c.merged = merged
	return nil
}

// upload uploads the profile up to now; it replaces what was uploaded before.
func (c *cpuShare) upload(ctx context.Context) error {
	c.mu.Lock()
	if c.merged == nil {
		err := c.blocked
		c.mu.Unlock()
		return err
	}
	var text bytes.Buffer
	err := c.merged.Write(&text)
	c.mu.Unlock()
	if err == nil {
		_, err = c.session.upload(ctx, diagnostics.RecorderCPU, c.joined, text.Bytes())
	}
	if ctx.Err() != nil {
		return nil // the session is over: the last upload is another's
	}
	return err
}

// leave ends the part of the session, and uploads the whole of it.
func (c *cpuShare) leave(ctx context.Context) error {
	b := &cpuProfiler
	b.mu.Lock()
	c.leaving = true
	b.wakeLocked()
	b.mu.Unlock()
	select {
	case <-c.left:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.session.cancel() // uploads of earlier windows are of no use any more
	c.session.work.Wait()
	return errors.Join(c.upload(ctx), c.missing())
}

// missing returns why a window is missing, if one is.
func (c *cpuShare) missing() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.merged == nil {
		return nil // upload told it
	}
	return c.blocked
}
