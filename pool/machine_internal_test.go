package pool

import (
	"math"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// What others use is what the machine used less what the tasks did in the same time, however old a reading is when it is
// looked at and whatever the tasks do meanwhile.
func TestOthersOfTheSameTime(t *testing.T) {
	const tick = 100 * time.Millisecond
	for _, tt := range []struct {
		name   string
		tasks  func(time.Duration) float64 // cores that the tasks use at a time
		others float64
		every  time.Duration // between two readings of the machine
		late   time.Duration // until the machine's is looked at
		age    time.Duration // of what is known of the tasks
	}{
		{name: "steady", tasks: func(time.Duration) float64 { return 1 }, others: 0.5, every: 250 * time.Millisecond},
		{name: "rising", tasks: func(at time.Duration) float64 { return min(2, at.Seconds()/2) }, every: 250 * time.Millisecond, late: 90 * time.Millisecond},
		{name: "bursts", tasks: func(at time.Duration) float64 { return 2 * float64(at/time.Second%2) }, others: 0.25, every: time.Second, late: 200 * time.Millisecond},
		{name: "stale", tasks: func(at time.Duration) float64 { return min(2, at.Seconds()/2) }, every: 250 * time.Millisecond, age: 100 * time.Millisecond},
		{name: "seldom", tasks: func(time.Duration) float64 { return 1 }, others: 0.5, every: 1900 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			usedBy := func(at time.Duration) (used time.Duration) {
				for of := time.Duration(0); of < at; of += time.Millisecond {
					used += time.Duration(tt.tasks(of) * float64(time.Millisecond))
				}
				return used
			}
			var s seen
			var taken time.Duration // when the machine was read last
			var newest snapshot.Snapshot
			own := Usage{Runnable: -1, Memory: -1}
			for now := time.Duration(0); now <= 10*time.Second; now += tick {
				if at := (now - tt.late) / tt.every * tt.every; at > taken {
					cores := (usedBy(at)-usedBy(taken)).Seconds()/(at-taken).Seconds() + tt.others
					newest = snapshot.Snapshot{At: at, Resource: snapshot.CPU, CPU: snapshot.CPUReading{Cores: 4, Used: cores / 4}}
					taken = at
				}
				own.CPU, own.Age = usedBy(now-tt.age), min(now, tt.age)
				view := snapshot.View{At: now}
				if taken > 0 {
					view.Newest = []snapshot.Snapshot{newest}
				}
				h := s.host(now, Host{}, &view, now, own, nil)
				if now > 4*time.Second && math.Abs(s.others-tt.others) > 0.06 {
					t.Fatalf("%v: others use %.3f cores, want %.3f", now, s.others, tt.others)
				}
				if taken > 0 && h.Busy < own.CPU {
					t.Fatalf("%v: the machine used %v, the tasks alone %v", now, h.Busy, own.CPU)
				}
			}
		})
	}
}

// A machine that was not read for long says nothing of the time in between.
func TestOthersAfterAGap(t *testing.T) {
	var s seen
	read := func(now time.Duration, cores float64) {
		s.host(now, Host{}, &snapshot.View{At: now, Newest: []snapshot.Snapshot{{
			At: now, Resource: snapshot.CPU, CPU: snapshot.CPUReading{Cores: 4, Used: cores / 4},
		}}}, now, Usage{}, nil)
	}
	for now := time.Duration(0); now < 2*time.Second; now += 250 * time.Millisecond {
		read(now, 0.5)
	}
	read(time.Minute, 3)
	if s.others != 3 {
		t.Errorf("others use %v cores, want 3", s.others)
	}
}

// The memory in use is that of the newest reading with what the tasks took since it was made, not since it was looked at.
func TestMemorySinceTheReading(t *testing.T) {
	const mebibyte = 1 << 20
	var s seen
	for now := time.Duration(0); now <= 2*time.Second; now += 100 * time.Millisecond {
		own := Usage{Memory: int64(now.Seconds() * 100 * mebibyte), Age: min(now, 50*time.Millisecond)}
		at := now.Truncate(500 * time.Millisecond)
		used := int64(200*mebibyte + (at.Seconds()+0.05)*100*mebibyte) // what is told as of 50 ms ago was so much then
		h := s.host(now, Host{}, &snapshot.View{At: now, Newest: []snapshot.Snapshot{{
			At: at, Resource: snapshot.Memory, Memory: snapshot.MemoryReading{Used: used, Total: 1000 * mebibyte},
		}}}, now, own, nil)
		want := int64(200*mebibyte + now.Seconds()*100*mebibyte)
		if at == 0 || at == now {
			continue // what is known is older than the reading
		}
		if off := h.MemoryUsed - want; off < -mebibyte || off > mebibyte {
			t.Errorf("%v: %d MiB in use, want %d", now, h.MemoryUsed/mebibyte, want/mebibyte)
		}
	}
}
