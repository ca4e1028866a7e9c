package host

import "time"

// aSecond is what a counter of 10 ms steps, or one that moves with each quota period of 100 ms, is compared over at
// least: less would be mostly rounding. A tenth less is a second still, as a timer is late now and early then.
const aSecond = time.Second - 100*time.Millisecond

// apart is the least time between two readings that a window keeps.
const apart = 50 * time.Millisecond

// A window keeps readings of counters, so that one can be compared with that of about a second ago however often
// they are made. It allocates nothing once it holds as many as it needs.
type window[T any] struct {
	kept []*record[T] // the oldest first
	free []*record[T]
}

type record[T any] struct {
	at    time.Time
	value T
}

// base returns the newest reading that is about a second old, or else the oldest; nil without any. What is older
// is forgotten.
func (w *window[T]) base(now time.Time) *record[T] {
	for len(w.kept) > 1 && now.Sub(w.kept[1].at) >= aSecond {
		w.free = append(w.free, w.kept[0])
		w.kept = append(w.kept[:0], w.kept[1:]...)
	}
	if len(w.kept) == 0 {
		return nil
	}
	return w.kept[0]
}

// next returns a place to keep the reading of now, which may hold an old one; nil when the newest kept is so young
// that another would not make base better.
func (w *window[T]) next(now time.Time) *T {
	if n := len(w.kept); n > 0 && now.Sub(w.kept[n-1].at) < apart {
		return nil
	}
	var r *record[T]
	if n := len(w.free); n > 0 {
		r, w.free = w.free[n-1], w.free[:n-1]
	} else {
		r = new(record[T])
	}
	r.at = now
	w.kept = append(w.kept, r)
	return &r.value
}
