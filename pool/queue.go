package pool

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// maxResting bounds the tasks of throttled keys that are taken from a sequence to get at those of other keys.
const maxResting = 10_000

// queue is the source of the forms that are given their work: what was submitted, and what a sequence yields. Tasks
// start in their order, but for those of keys that rest, which others overtake.
type queue struct {
	// seq is where tasks are pulled from. Nil where they are submitted.
	seq *sequence

	mu      sync.Mutex
	first   fifo // come before all others: put back, or rested
	fifo    fifo
	keys    map[string]*rest
	rests   rests
	resting int  // tasks in rests
	closed  bool // nothing more is submitted, and nothing pulled
	pulling bool
}

// rest is what waits for an instant: the tasks of a key or, without one, a single task.
type rest struct {
	key   string
	until time.Duration
	tasks fifo
	index int // in rests
}

func newQueue(seq *sequence) *queue {
	return &queue{seq: seq, keys: make(map[string]*rest)}
}

func (q *queue) push(t Task) {
	q.mu.Lock()
	q.fifo.push(t)
	q.mu.Unlock()
}

// close says that nothing more is submitted.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
}

func (q *queue) next(_ context.Context, now time.Duration) (t Task, b Block, again time.Duration, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.rests) > 0 && q.rests[0].until <= now {
		r := heap.Pop(&q.rests).(*rest)
		if r.key != "" {
			delete(q.keys, r.key)
		}
		q.resting -= r.tasks.len()
		for r.tasks.len() > 0 {
			q.first.push(r.tasks.pop())
		}
	}
	for {
		t, ok, err := q.popLocked()
		if ok {
			err = t.validate()
		}
		if err != nil {
			return Task{}, BlockNone, 0, err
		}
		if !ok {
			break
		}
		r := q.keys[t.Key]
		if t.Key == "" || r == nil {
			return t, BlockNone, 0, nil
		}
		r.tasks.push(t)
		q.resting++
	}
	if len(q.rests) > 0 && q.resting > 0 {
		return Task{}, BlockKey, q.rests[0].until, nil
	}
	return Task{}, BlockReady, forever, nil
}

// popLocked takes the task that is next, whatever its key.
func (q *queue) popLocked() (t Task, ok bool, err error) {
	switch {
	case q.first.len() > 0:
		return q.first.pop(), true, nil
	case q.fifo.len() > 0:
		return q.fifo.pop(), true, nil
	case q.seq == nil || q.closed || q.resting >= maxResting:
		return Task{}, false, nil
	}
	return q.pullLocked()
}

func (q *queue) pullLocked() (t Task, ok bool, err error) {
	q.pulling = true
	q.mu.Unlock()
	defer func() { // also where the sequence ends its goroutine
		q.mu.Lock()
		q.pulling, q.closed = false, !ok
	}()
	t, ok = q.seq.next()
	return t, ok, q.seq.err
}

// idle reports whether nothing is being pulled.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.pulling
}

func (q *queue) putBack(t Task) {
	q.mu.Lock()
	q.first.unpop(t)
	q.mu.Unlock()
}

func (q *queue) retry(t Task, until time.Duration) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.resting++
	r := q.keys[t.Key]
	if t.Key == "" || r == nil {
		r = &rest{key: t.Key, until: until}
		if t.Key != "" {
			q.keys[t.Key] = r
		}
		heap.Push(&q.rests, r)
	} else if until > r.until {
		r.until = until
		heap.Fix(&q.rests, r.index)
	}
	r.tasks.push(t)
	return true
}

// left reports whether there are tasks that were submitted and have not run.
func (q *queue) left() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first.len()+q.fifo.len()+q.resting > 0
}

func (q *queue) finished(context.Context) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && q.first.len() == 0 && q.fifo.len() == 0, nil
}

// waiting takes a sequence that is not at its end for as many as are held: nobody knows how long it is.
func (q *queue) waiting(ready bool, held int64) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := int64(q.first.len() + q.fifo.len())
	if q.seq != nil && ready && !q.closed {
		n = max(n, held, 1)
	}
	return n
}

// rests orders what rests by when that is over.
type rests []*rest

func (r rests) Len() int           { return len(r) }
func (r rests) Less(i, j int) bool { return r[i].until < r[j].until }
func (r rests) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].index, r[j].index = i, j
}

// Push adds one, for package heap.
func (r *rests) Push(x any) {
	e := x.(*rest)
	e.index = len(*r)
	*r = append(*r, e)
}

// Pop takes the last one off, for package heap.
func (r *rests) Pop() any {
	last := (*r)[len(*r)-1]
	(*r)[len(*r)-1] = nil
	*r = (*r)[:len(*r)-1]
	return last
}

// fifo is a queue in a ring.
type fifo struct {
	ring []Task // its length is a power of two, or 0
	head int
	n    int
}

func (f *fifo) len() int { return f.n }

func (f *fifo) push(t Task) {
	f.grow()
	f.ring[(f.head+f.n)&(len(f.ring)-1)] = t
	f.n++
}

// unpop puts one at the front.
func (f *fifo) unpop(t Task) {
	f.grow()
	f.head = (f.head - 1) & (len(f.ring) - 1)
	f.ring[f.head] = t
	f.n++
}

// pop takes the one at the front, which there must be.
func (f *fifo) pop() Task {
	t := f.ring[f.head]
	f.ring[f.head] = Task{}
	f.head = (f.head + 1) & (len(f.ring) - 1)
	f.n--
	return t
}

func (f *fifo) grow() {
	if f.n < len(f.ring) {
		return
	}
	ring := make([]Task, max(8, 2*len(f.ring)))
	for i := range f.n {
		ring[i] = f.ring[(f.head+i)&(len(f.ring)-1)]
	}
	f.ring, f.head = ring, 0
}
