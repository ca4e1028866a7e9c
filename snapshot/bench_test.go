package snapshot_test

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

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
	b.Run("slice", func(b *testing.B) {
		m := &model{keep: 30 * time.Second}
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
	b.Run("slice", func(b *testing.B) {
		m := &model{keep: 30 * time.Second}
		fill(func(s *snapshot.Snapshot) { m.insert(*s) })
		b.ReportAllocs()
		for b.Loop() {
			m.ratioAtNewest(30*time.Second, 0)
		}
	})
}

// BenchmarkAppendAndStatusOf300 is what one snapshot costs the sampler: to keep it, and to judge both
// windows by it.
func BenchmarkAppendAndStatusOf300(b *testing.B) {
	b.Run("ring", func(b *testing.B) {
		ring := snapshot.NewRing(30*time.Second, benchInterval)
		s := fill(func(s *snapshot.Snapshot) { ring.Insert(s) })
		b.ReportAllocs()
		for b.Loop() {
			s.At += benchInterval
			ring.Insert(&s)
			ring.RatioAtNow(30*time.Second, s.At)
		}
	})
	b.Run("slice", func(b *testing.B) {
		m := &model{keep: 30 * time.Second}
		s := fill(func(s *snapshot.Snapshot) { m.insert(*s) })
		b.ReportAllocs()
		for b.Loop() {
			s.At += benchInterval
			m.insert(s)
			m.ratioAtNewest(30*time.Second, 0)
		}
	})
}
