package pool

import "context"

// Group is a pool to which tasks are submitted. What waits costs no goroutine.
type Group struct {
	pool  *Pool
	queue *queue
	ended chan struct{}
	err   error // once ended is closed
}

// NewGroup returns a group that runs until Wait, until a task fails or until ctx is done. At most one Options may be
// given, without Run, Ready and Finished. The caller must call Wait.
func NewGroup(ctx context.Context, o ...Options) (*Group, error) {
	q := newQueue(nil)
	p, err := fed(q, o)
	if err != nil {
		return nil, err
	}
	r, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	g := &Group{pool: p, queue: q, ended: make(chan struct{})}
	go func() {
		defer close(g.ended)
		r.loop(ctx)
		if g.err = p.finish(ctx, r); g.err == nil && !r.aborted && q.left() {
			g.err = ErrStopped
		}
	}()
	return g, nil
}

// Pool returns the pool of the group, for its other methods.
func (g *Group) Pool() *Pool { return g.pool }

// Go submits a function; see [Group.Submit].
func (g *Group) Go(run func(ctx context.Context) error) error { return g.Submit(Task{Run: run}) }

// Submit has a task run after those that were submitted before. It does not block: what waits is bounded by the
// caller's memory alone. It returns [ErrStopped] once the group starts nothing more, and takes tasks also from other
// tasks.
func (g *Group) Submit(t Task) error {
	if err := t.validate(); err != nil {
		return err
	}
	p := g.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.core.stopped {
		return ErrStopped
	}
	g.queue.push(t)
	p.kickLocked()
	return nil
}

// Wait blocks until all tasks have ended, those too that they submit themselves, and returns what [Pool.Run] does; but
// where [Pool.Drain] left tasks that were submitted, and nothing failed, [ErrStopped]. It may be called more than once.
func (g *Group) Wait() error {
	g.queue.close()
	g.pool.Notify()
	<-g.ended
	return g.err
}
