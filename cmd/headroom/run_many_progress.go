package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

const (
	progressAfter = time.Second // what takes less long shows none
	progressEvery = 200 * time.Millisecond

	eraseLine = "\r\x1b[K" // EL, ECMA-48
)

// progress is a line on a terminal that says how far the commands are. A nil one shows nothing. It is safe for
// concurrent use.
type progress struct {
	screen io.Writer
	state  func() progressState
	began  time.Time
	stop   chan struct{}
	ended  sync.WaitGroup

	mu       sync.Mutex
	estimate jobs.Estimate
	shown    bool
	midLine  bool // the output does not end with a newline
}

// progressState is what a progress shows.
type progressState struct {
	done, failed int64
	total        int64 // so far
	all          bool  // whether total is all
	running      int64
}

func newProgress(screen io.Writer, state func() progressState) *progress {
	return &progress{screen: screen, state: state, began: time.Now(), stop: make(chan struct{})}
}

// run shows the progress again and again, until close.
func (p *progress) run() {
	if p == nil {
		return
	}
	p.ended.Go(func() {
		for wait := progressAfter; ; wait = progressEvery {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
				p.show()
			case <-p.stop:
				timer.Stop()
				return
			}
		}
	})
}

// complete counts a command that has ended.
func (p *progress) complete() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.estimate.Complete(time.Since(p.began))
}

func (p *progress) show() {
	state := p.state()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.midLine {
		return
	}
	now := time.Since(p.began)
	left, known := p.estimate.Left(now, state.total-state.done)
	p.shown = true
	line := progressLine(state, now, left, known && state.all)
	line = line[:min(len(line), widthOf(p.screen)-1)] // of one that wraps only the last row is erased
	io.WriteString(p.screen, eraseLine+line)          // a lost terminal shows nothing
}

// progressLine says how far the commands are, in fewer than 80 columns.
func progressLine(s progressState, now, left time.Duration, known bool) string {
	line := fmt.Sprintf("%d of %d done", s.done, s.total)
	if !s.all {
		line = fmt.Sprintf("%d done, %d wait", s.done, s.total-s.done-s.running)
	}
	if s.failed > 0 {
		line += fmt.Sprintf(", %d failed", s.failed)
	}
	line += fmt.Sprintf(", %d running, %s so far", s.running, humanDuration(now.Round(time.Second)))
	if known {
		line += ", about " + humanDuration(max(left.Round(time.Second), time.Second)) + " left"
	}
	return line
}

// over returns a writer to w that makes room for what it writes.
func (p *progress) over(w io.Writer) io.Writer {
	if p == nil {
		return w
	}
	return progressOver{p, w}
}

type progressOver struct {
	p *progress
	w io.Writer
}

func (o progressOver) Write(text []byte) (int, error) {
	p := o.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eraseLocked()
	if len(text) > 0 {
		p.midLine = text[len(text)-1] != '\n'
	}
	return o.w.Write(text)
}

func (p *progress) eraseLocked() {
	if p.shown {
		p.shown = false
		io.WriteString(p.screen, eraseLine) // a lost terminal shows nothing
	}
}

// close ends the line and takes it away.
func (p *progress) close() {
	if p == nil {
		return
	}
	close(p.stop)
	p.ended.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eraseLocked()
}
