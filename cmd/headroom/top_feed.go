package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	tea "charm.land/bubbletea/v2"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// The pace of the screen: news comes at most every redrawTime, and at least every agingTime, for ages grow by themselves.
const (
	redrawTime = 250 * time.Millisecond
	agingTime  = time.Second
)

// topFeed collects what the server tells.
type topFeed struct {
	client   *client.Client
	interval time.Duration // least between two states, and between two lists
	timeout  time.Duration // of one call

	mu      sync.Mutex
	news    topNews
	changed chan struct{} // of capacity 1
}

func newTopFeed(c *client.Client, interval, timeout time.Duration) *topFeed {
	return &topFeed{client: c, interval: interval, timeout: timeout, changed: make(chan struct{}, 1)}
}

// put adds to the news.
func (f *topFeed) put(add func(*topNews)) {
	f.mu.Lock()
	add(&f.news)
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// take returns the news since the last call.
func (f *topFeed) take() topNews {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.news
	f.news = topNews{}
	n.now, n.clock = time.Now(), f.client.Now()
	return n
}

// run sends the news until ctx is done. Nothing that it started outlives it.
func (f *topFeed) run(ctx context.Context, send func(tea.Msg)) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { f.watch(ctx) })
	all.Go(func() { f.watchSeverity(ctx) })
	all.Go(func() { f.poll(ctx, f.askSeverity) })
	all.Go(func() { f.poll(ctx, f.listPermits) })
	all.Go(func() { f.poll(ctx, f.listTasks) })
	for {
		aging := time.NewTimer(agingTime)
		select {
		case <-ctx.Done():
		case <-f.changed:
		case <-aging.C:
		}
		aging.Stop()
		if ctx.Err() != nil {
			return
		}
		send(f.take())
		pause := time.NewTimer(redrawTime)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// once collects what there is to say now. Only of the load it is an error that nothing is known.
func (f *topFeed) once(ctx context.Context) error {
	f.sample(ctx)
	for state, err := range f.client.Snapshots(ctx, client.WatchOptions{}) {
		if err != nil {
			return err
		}
		if state.Stale {
			return state.Cause
		}
		f.put(func(n *topNews) { n.state = &state })
		break
	}
	if err := f.askSeverity(ctx); err != nil {
		f.put(func(n *topNews) { n.severityErr = err })
	}
	// What fails is said in the frame.
	_ = f.listPermits(ctx)
	_ = f.listTasks(ctx)
	return ctx.Err()
}

func (f *topFeed) watch(ctx context.Context) {
	f.sample(ctx)
	for state, err := range f.client.Snapshots(ctx, client.WatchOptions{Interval: f.interval}) {
		if err != nil {
			f.put(func(n *topNews) { n.fatal = callError(err) })
			return
		}
		f.put(func(n *topNews) { n.state = &state })
	}
}

// sample asks for what was before. Without it the sparklines begin empty.
func (f *topFeed) sample(ctx context.Context) {
	calling, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if samples, err := f.client.Sample(calling, "", sparkSpan); err == nil {
		f.put(func(n *topNews) { n.samples = samples })
	}
}

func (f *topFeed) watchSeverity(ctx context.Context) {
	for update, err := range f.client.WatchSeverity(ctx, client.SeverityOptions{}) {
		if err != nil {
			f.put(func(n *topNews) { n.severityErr = err })
			return
		}
		f.put(func(n *topNews) { n.severity = &update })
	}
}

// listInterval is the time between two lists, and how old the samples of tasks may be in one.
func (f *topFeed) listInterval() time.Duration { return max(f.interval, time.Second) }

// poll calls list at every interval until ctx is done or to go on is in vain.
func (f *topFeed) poll(ctx context.Context, list func(context.Context) error) {
	tick := time.NewTicker(f.listInterval())
	defer tick.Stop()
	for {
		calling, cancel := context.WithTimeout(ctx, f.timeout)
		err := list(calling)
		cancel()
		if inVain(err) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// inVain reports whether the same call would fail again.
func inVain(err error) bool {
	s := statusOf(err)
	return err != nil && (callExit(err) != exitUnknown || s != nil && s.Code() == codes.Unimplemented || errors.Is(err, client.ErrClosed))
}

// askSeverity asks for the severity, which the stream tells anew only when the level changes. That it is stale is for the
// stream to tell.
func (f *topFeed) askSeverity(ctx context.Context) error {
	severity, err := f.client.Severity(ctx)
	if err == nil {
		update := &client.SeverityUpdate{Severity: severity, Received: time.Now()}
		f.put(func(n *topNews) { n.severity = update })
	}
	return err
}

func (f *topFeed) listPermits(ctx context.Context) error {
	resources, sessions, err := f.client.PermitSessions(ctx, "")
	list := &topPermits{resources, sessions, time.Now(), err}
	f.put(func(n *topNews) { n.permits = list })
	return err
}

func (f *topFeed) listTasks(ctx context.Context) error {
	all, err := f.client.Tasks(ctx, f.listInterval())
	list := &topTasks{all, time.Now(), err}
	f.put(func(n *topNews) { n.tasks = list })
	return err
}

// explain asks why a session has as many permits of a resource as it has.
func (f *topFeed) explain(ctx context.Context, resource, session string) topExplained {
	calling, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	key := permitKey(resource, session)
	answer, err := headroomv1.NewPermitServiceClient(f.client.Conn()).Explain(calling,
		&headroomv1.ExplainRequest{Resource: resource, Session: session})
	if err != nil {
		return topExplained{key, []string{clean(callError(err).Error())}}
	}
	whose := "you"
	if session != "" {
		whose = "the session"
	}
	e := wire.ExplanationFrom(answer)
	return topExplained{key, explainLines(&e, whose, "")}
}
