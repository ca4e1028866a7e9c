package pool

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/snapshot"
)

// What was lowest of a window, by the tasks of the time, is what they use, and the rest is garbage.
func TestGarbageIsNoUse(t *testing.T) {
	type reading struct {
		memory int64
		tasks  float64
	}
	for _, tt := range []struct {
		name       string
		readings   []reading
		tasks      float64
		used       int64 // at the end of the window
		want, left int64 // of the 1000 in use on the machine
	}{
		{name: "nothing was read", tasks: 2, used: 300, want: 300, left: 1000},
		{name: "a collection in between", readings: []reading{{300, 2}, {100, 2}, {300, 2}}, tasks: 2, used: 300, want: 100, left: 800},
		{name: "more tasks than at the collection", readings: []reading{{100, 2}, {300, 4}}, tasks: 4, used: 300, want: 200, left: 900},
		{name: "tasks ended since", readings: []reading{{400, 4}, {250, 2}}, tasks: 2, used: 250, want: 200, left: 950},
		{name: "no garbage", readings: []reading{{200, 2}, {300, 2}}, tasks: 2, used: 200, want: 200, left: 1000},
		{name: "not known, and nobody there", readings: []reading{{-1, 2}, {5, 0}, {100, 1}}, tasks: 1, used: 100, want: 100, left: 1000},
		{name: "more garbage than there is memory in use", readings: []reading{{100, 1}}, tasks: 1, used: 2000, want: 100, left: 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l lowest
			for _, r := range tt.readings {
				l.see(r.memory, r.tasks)
			}
			window, host := limit.Pool{Memory: tt.used, MemoryKnown: true}, limit.Host{MemoryUsed: 1000}
			l.clean(&window, tt.tasks, &host)
			if window.Memory != tt.want || host.MemoryUsed != tt.left {
				t.Errorf("%d of the tasks and %d of all, want %d and %d", window.Memory, host.MemoryUsed, tt.want, tt.left)
			}
			if l != (lowest{}) {
				t.Errorf("%+v is left for the next window", l)
			}
		})
	}
}

// Goroutines may take what GOMEMLIMIT leaves of the machine, and what the runtime gives back before that is not in use.
func TestMemoryLimitOfTheProcess(t *testing.T) {
	for _, tt := range []struct {
		name        string
		self        reading
		used, total int64
	}{
		{"no limit", reading{held: 300}, 500, 1000},
		{"a limit below that of the machine", reading{held: 300, idle: 50, most: 600}, 450, 800},
		{"one that the machine does not have", reading{held: 300, idle: 50, most: 5000}, 450, 1000},
	} {
		var s seen
		var h Host
		for now := time.Duration(0); now <= time.Second; now += 100 * time.Millisecond {
			h = s.host(now, Host{}, &snapshot.View{At: now, Newest: []snapshot.Snapshot{{
				At: now, Resource: snapshot.Memory, Memory: snapshot.MemoryReading{Used: 500, Total: 1000},
			}}}, now, Usage{Memory: 200}, &tt.self)
		}
		if h.MemoryUsed != tt.used || h.MemoryTotal != tt.total {
			t.Errorf("%s: %d of %d, want %d of %d", tt.name, h.MemoryUsed, h.MemoryTotal, tt.used, tt.total)
		}
	}
}
