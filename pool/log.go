package pool

import (
	"context"
	"log/slog"
)

// log says how the pool does.
func (p *Pool) log(ctx context.Context) {
	if !p.opts.Log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	s := p.Stats()
	p.opts.Log.LogAttrs(ctx, slog.LevelInfo, "pool: "+s.Binding,
		slog.Int64("current", s.Current), slog.Int64("desired", s.Desired), slog.Int64("waiting", s.Waiting),
		slog.Int64("completed", s.Completed), slog.Int64("failed", s.Failed))
}
