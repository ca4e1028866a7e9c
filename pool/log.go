package pool

import "context"

// log says how the pool does.
func (p *Pool) log(ctx context.Context) {
	if !p.opts.Log.Enabled(ctx, 0) {
		return
	}
	p.mu.Lock()
	current, desired := p.core.held, p.desiredLocked()
	p.mu.Unlock()
	p.opts.Log.InfoContext(ctx, "pool", "current", current, "desired", desired)
}
