package jobs

import (
	"errors"
	"sync"
)

// The bounds of a Queue.
const (
	maxQueued      = 100_000
	maxQueuedBytes = 16 << 20
)

// A Queue reads arguments ahead of the jobs that take them, so that a slow source keeps nobody waiting who only
// wants to know whether there is more. It holds at most 100,000 jobs or 16 MiB. It is safe for concurrent use.
type Queue struct {
	changed func()

	mu     sync.Mutex
	room   *sync.Cond // signalled when what is queued gets less, and when the queue is closed
	jobs   []Job
	bytes  int
	read   int64 // jobs read, those that were skipped too
	kept   int64 // jobs read that were not skipped
	ended  bool
	closed bool
	err    error
}

// NewQueue returns an empty queue. changed is called after there is more to take, or the arguments have ended; it must
// not block.
func NewQueue(changed func()) *Queue {
	q := &Queue{changed: changed}
	q.room = sync.NewCond(&q.mu)
	return q
}

// errClosed ends a Fill early; it is told to nobody.
var errClosed = errors.New("jobs: closed")

// Fill reads arguments until they end or the queue is closed, and numbers the jobs. Those that skip names are left out;
// it may be nil. It blocks while the queue is full.
func (q *Queue) Fill(arguments Arguments, skip func(seq int64) bool) {
	err := q.fill(arguments, skip)
	q.mu.Lock()
	q.ended = true
	if !errors.Is(err, errClosed) {
		q.err = err
	}
	q.mu.Unlock()
	q.changed()
}

func (q *Queue) fill(arguments Arguments, skip func(seq int64) bool) error {
	for args, err := range arguments {
		if err != nil {
			return err
		}
		size := 0
		for _, arg := range args {
			size += len(arg)
		}
		q.mu.Lock()
		for !q.closed && (len(q.jobs) >= maxQueued || q.bytes >= maxQueuedBytes) {
			q.room.Wait()
		}
		q.read++
		seq, closed, empty := q.read, q.closed, len(q.jobs) == 0
		keep := !closed && (skip == nil || !skip(seq))
		if keep {
			q.kept++
			q.jobs, q.bytes = append(q.jobs, Job{Seq: seq, Args: args}), q.bytes+size
		}
		q.mu.Unlock()
		if closed {
			return errClosed
		}
		if keep && empty {
			q.changed()
		}
	}
	return nil
}

// Take returns the next job; ok is false where none is queued now.
func (q *Queue) Take() (j Job, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.jobs) == 0 {
		return Job{}, false
	}
	j = q.jobs[0]
	q.jobs[0] = Job{}
	q.jobs = q.jobs[1:]
	for _, arg := range j.Args {
		q.bytes -= len(arg)
	}
	q.room.Signal()
	return j, true
}

// State returns how many jobs are queued, whether no more will be, and the error that ended the arguments.
func (q *Queue) State() (queued int, ended bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.jobs), q.ended, q.err
}

// Total returns how many jobs there are in all, without those that were skipped; ok is false while that is not known.
func (q *Queue) Total() (total int64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.kept, q.ended
}

// Close drops what is queued and ends Fill, unless that waits for its source.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed, q.ended, q.jobs, q.bytes = true, true, nil, 0
	q.mu.Unlock()
	q.room.Signal()
}
