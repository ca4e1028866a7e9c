package task

import (
	"sort"
	"time"
	"unsafe"

	"github.com/headroom-rpc/headroom/snapshot"
)

// record is one sample of a task in its history.
type record struct {
	at    time.Duration
	wall  int64 // nanoseconds since 1970, for people
	first int   // its points are those from here on, counted from the first that ever was
	n     int32
}

// point is what one named process used in a record. The one with the number 0 corrects the sum.
type point struct {
	number uint64
	Usage
}

// diskRecord is one reading of the folder of a task.
type diskRecord struct {
	at   time.Duration
	wall int64
	use  snapshot.DiskReading
}

// series is a queue of values in order of time. What was taken off in front is reclaimed now and then.
type series[T any] struct {
	items []T
	head  int
}

func (s *series[T]) live() []T { return s.items[s.head:] }

func (s *series[T]) push(v T) { s.items = append(s.items, v) }

// drop takes n off in front.
func (s *series[T]) drop(n int) {
	s.head += n
	if s.head > 16 && s.head > len(s.items)/2 {
		s.items = s.items[:copy(s.items, s.live())]
		s.head = 0
	}
}

// bytes returns how much memory the series holds.
func (s *series[T]) bytes() int64 {
	var v T
	return int64(cap(s.items)) * int64(unsafe.Sizeof(v))
}

// history is what is known of the past of a task. The disk usage, which is read less often, is a series of its own,
// so that the span of both is what it is told to be.
type history struct {
	records series[record]
	points  series[point]
	dropped int // points taken off in front, ever
	disk    series[diskRecord]
	thinned bool // records of within the span are missing
}

// add appends a sample. It must not be older than the last one.
func (h *history) add(at time.Duration, wall int64, all []account, o *overlap) error {
	if live := h.records.live(); len(live) > 0 && at < live[len(live)-1].at {
		return ErrTimeOrder
	}
	first := h.dropped + len(h.points.live())
	n := int32(0)
	for i := range all {
		if all[i].seen {
			h.points.push(point{all[i].number, all[i].last})
			n++
		}
	}
	if fix, ok := o.correction(all); ok {
		h.points.push(point{0, fix})
		n++
	}
	h.records.push(record{at, wall, first, n})
	return nil
}

func (h *history) addDisk(at time.Duration, wall int64, use snapshot.DiskReading) error {
	if live := h.disk.live(); len(live) > 0 && at < live[len(live)-1].at {
		return ErrTimeOrder
	}
	h.disk.push(diskRecord{at, wall, use})
	return nil
}

// trim takes off what is older than the span, and what is more than the bound.
func (h *history) trim(oldest time.Duration, most int) {
	live := h.records.live()
	n := 0
	for n < len(live) && (live[n].at < oldest || len(live)-n > most) {
		n++
	}
	h.dropRecords(n)
	disk := h.disk.live()
	n = 0
	for n < len(disk) && (disk[n].at < oldest || len(disk)-n > most) {
		n++
	}
	h.disk.drop(n)
}

func (h *history) dropRecords(n int) {
	points := 0
	for _, r := range h.records.live()[:n] {
		points += int(r.n)
	}
	h.records.drop(n)
	h.points.drop(points)
	h.dropped += points
}

func (h *history) bytes() int64 { return h.records.bytes() + h.points.bytes() + h.disk.bytes() }

// thin gives up every other record of the older half, and what memory that takes. It reports whether there was
// anything to give up.
func (h *history) thin() bool {
	live := h.records.live()
	if len(live) < 4 {
		return false
	}
	half := len(live) / 2
	var records []record
	var points []point
	records = make([]record, 0, len(live)-half/2)
	points = make([]point, 0, len(h.points.live()))
	for i, r := range live {
		if i < half && i%2 == 1 {
			continue
		}
		from := points
		points = append(points, h.of(r)...)
		r.first = h.dropped + len(from)
		records = append(records, r)
	}
	h.records = series[record]{items: records}
	h.points = series[point]{items: append([]point(nil), points...)}
	h.thinned = true
	return true
}

// of returns the points of a record.
func (h *history) of(r record) []point {
	from := r.first - h.dropped
	return h.points.live()[from : from+int(r.n)]
}

// nearest returns the index of the record that answers for the time, or -1.
func nearest(n int, at func(int) time.Duration, t time.Duration, mode Mode) int {
	if n == 0 {
		return -1
	}
	after := sort.Search(n, func(i int) bool { return at(i) >= t })
	switch {
	case mode == Ceiling:
		return min(after, n-1)
	case after < n && at(after) == t:
		for after+1 < n && at(after+1) == t {
			after++ // the newest of one time
		}
		return after
	case mode == Floor:
		return after - 1
	case after == 0:
		return 0
	case after == n || t-at(after-1) <= at(after)-t:
		return after - 1
	default:
		return after
	}
}
