package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
)

// The pauses between two attempts to find a server, the first and the longest.
const (
	dialPause     = 50 * time.Millisecond
	mostDialPause = time.Second
)

// connect finds the server, and tries again until ctx is done where --wait is given. It returns nil where no permits and
// no server were asked for and there is none, or only one that lets this user have no permits, of which it warns.
func (r *runCommand) connect(ctx context.Context, program string) (*client.Client, error) {
	for pause := dialPause; ; pause = min(2*pause, mostDialPause) {
		c, err := r.tryConnect(ctx, program)
		code := callExit(err)
		switch {
		case err == nil:
			return c, nil
		case code == exitUnknown && !r.asked && r.server.addr == "":
			return nil, nil
		case code == exitDenied && !r.asked && !r.server.named():
			fmt.Fprintf(r.stderr, "headroom: warning: %s; this runs without permits, by the load of this machine\n", clean(callError(err).Error()))
			return nil, nil
		case code != exitUnknown || r.wait == 0:
			return nil, runError(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, &exitError{exitTimeout, fmt.Errorf("still waiting after %s: %w", formatDuration(r.wait), err)}
		}
	}
}

// tryConnect connects to the server, and begins a session with it.
func (r *runCommand) tryConnect(ctx context.Context, program string) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, r.server.timeout)
	defer cancel()
	c, err := r.server.dial(ctx, client.WithName(runName(program)))
	if err != nil {
		return nil, err
	}
	if err := attached(ctx, c, r.needs.sorted()[0]); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// attached waits until the server has welcomed the client, or ctx is done, and returns why it does not. That a resource
// is refused is told to whoever asks for its permits.
func attached(ctx context.Context, c *client.Client, resource string) error {
	h, err := c.Permits(resource)
	if err != nil {
		return err
	}
	defer h.Close()
	for {
		changed := h.Changed()
		var refused *client.RefusedError
		if err := h.Err(); err != nil && !errors.As(err, &refused) {
			return err
		}
		if h.LeaseLeft() > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// explainPatience bounds the time for which the server is asked for more than it said.
const explainPatience = 3 * time.Second

// whatThereIs returns, for a resource that the server does not have, the error that also names those that it has; any
// other error as it is.
func whatThereIs(ctx context.Context, c *client.Client, err error) error {
	var refused *client.RefusedError
	if c == nil || !errors.As(err, &refused) || refused.Refusal != permit.RefusedNoResource {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, explainPatience)
	defer cancel()
	if _, told := c.Explain(ctx, refused.Resource); client.Reason(told) == string(refused.Refusal) {
		return told
	}
	return err
}

// named reports whether the user said which server, or as whom to ask it.
func (f *serverFlags) named() bool {
	return f.addr != "" || f.tokenFile != "" || f.tlsCA != "" || os.Getenv("HEADROOM_ADDR") != "" || os.Getenv("HEADROOM_TOKEN") != ""
}

// A signalWait is a wait that a signal ends.
type signalWait struct {
	ctx     context.Context
	stop    context.CancelCauseFunc
	watched sync.WaitGroup
}

func untilSignal(ctx context.Context, signals <-chan os.Signal) *signalWait {
	w := &signalWait{}
	w.ctx, w.stop = context.WithCancelCause(ctx)
	w.watched.Go(func() {
		select {
		case sig := <-signals:
			w.stop(endedBy(sig))
		case <-w.ctx.Done():
		}
	})
	return w
}

// end ends the wait, and returns the exitError of the signal if one came.
func (w *signalWait) end() error {
	w.stop(nil)
	w.watched.Wait()
	var end *exitError
	if errors.As(context.Cause(w.ctx), &end) {
		return end
	}
	return nil
}
