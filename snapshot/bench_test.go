package snapshot_test

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// list is a history as Crawlee keeps it: references in time order, pruned by rebuilding the list, and
// filtered for each judgement.
type list []*snapshot.Snapshot

func (l list) newerThan(oldest time.Duration) list {
	kept := list{}
	for _, s := range l {
		if s.At >= oldest {
			kept = append(kept, s)
		}
	}
	return kept
}

func (l *list) insert(s snapshot.Snapshot) {
	*l = append(*l, &s).newerThan(s.At - 30*time.Second)
}

func (l list) ratio(window time.Duration) float64 {
	sample := l.newerThan(l[len(l)-1].At - window)
	var over, total time.Duration
	for i := 1; i < len(sample); i++ {
		d := sample[i].At - sample[i-1].At
		total += d
		if sample[i].Overloaded {
			over += d
		}
	}
	return float64(over) / float64(total)
}

const benchInterval = 100 * time.Millisecond

// fill puts 301 snapshots, 300 intervals, into insert and returns the last one.
func fill(insert func(*snapshot.Snapshot)) snapshot.Snapshot {
	var s snapshot.Snapshot
	for i := range 301 {
		s = snapshot.Snapshot{At: time.Duration(i) * benchInterval, Overloaded: i%3 == 0}
		insert(&s)
	}
	return s
}

func BenchmarkHistoryAppend(b *testing.B) {
	b.Run("ring", func(b *testing.B) {
		ring := snapshot.NewRing(30*time.Second, benchInterval)
		s := fill(func(s *snapshot.Snapshot) { ring.Insert(s) })
		b.ReportAllocs()
		for b.Loop() {
			s.At += benchInterval
			ring.Insert(&s)
		}
	})
	b.Run("list", func(b *testing.B) {
		var m list
		s := fill(func(s *snapshot.Snapshot) { m.insert(*s) })
		b.ReportAllocs()
		for b.Loop() {
			s.At += benchInterval
			m.insert(s)
		}
	})
}

func BenchmarkStatusOf300(b *testing.B) {
	for _, p := range []snapshot.Profile{snapshot.ProfileHeadroom, snapshot.ProfileCrawleePython, snapshot.ProfileCrawleeJS} {
		b.Run("ring/"+p.String(), func(b *testing.B) {
			ring := snapshot.NewRing(30*time.Second, benchInterval)
			s := fill(func(s *snapshot.Snapshot) { ring.Insert(s) })
			b.ReportAllocs()
			for b.Loop() {
				switch p {
				case snapshot.ProfileHeadroom:
					ring.RatioAtNow(30*time.Second, s.At)
				case snapshot.ProfileCrawleePython:
					ratio, _ := ring.RatioAtNewest(30*time.Second, 0)
					snapshot.RoundToThousandths(ratio)
				default:
					ring.RatioAtNewest(30*time.Second, time.Millisecond)
				}
			}
		})
	}
	b.Run("list", func(b *testing.B) {
		var m list
		fill(func(s *snapshot.Snapshot) { m.insert(*s) })
		b.ReportAllocs()
		for b.Loop() {
			m.ratio(30 * time.Second)
		}
	})
}

// BenchmarkAppendAndStatusOf300 is to keep a snapshot and to judge the historical window by it.
func BenchmarkAppendAndStatusOf300(b *testing.B) {
	b.Run("ring", func(b *testing.B) {
		ring := snapshot.NewRing(30*time.Second, benchInterval)
		s := fill(func(s *snapshot.Snapshot) { ring.Insert(s) })
		var kept snapshot.Tally
		b.ReportAllocs()
		for b.Loop() {
			s.At += benchInterval
			ring.Insert(&s)
			kept.RatioAtNow(ring, 30*time.Second, s.At)
		}
	})
	b.Run("list", func(b *testing.B) {
		var m list
		s := fill(func(s *snapshot.Snapshot) { m.insert(*s) })
		b.ReportAllocs()
		for b.Loop() {
			s.At += benchInterval
			m.insert(s)
			m.ratio(30 * time.Second)
		}
	})
}
