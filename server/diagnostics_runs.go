package server

import "sync"

// runs knows the recordings that go on. It is safe for concurrent use.
type runs struct {
	mu     sync.Mutex
	newest map[runKey]*recording
}

type runKey struct{ owner, run string }

// enter adds a recording. One of the same run, whose connection broke and which this one goes on from, is to end.
func (o *runs) enter(r *recording) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := runKey{r.identity.Name, r.run}
	if before := o.newest[key]; before != nil {
		close(before.superseded)
	}
	o.newest[key] = r
}

// leave removes the recording. It reports whether that was the newest of its run: whose end is that of the run.
func (o *runs) leave(r *recording) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := runKey{r.identity.Name, r.run}
	if o.newest[key] != r {
		return false
	}
	delete(o.newest, key)
	return true
}

// goOn reports whether the run is being recorded.
func (o *runs) goOn(owner, run string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.newest[runKey{owner, run}] != nil
}
