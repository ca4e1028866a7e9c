package snapshot_test

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

func TestReplacedAndCustomSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := func(context.Context) (float64, float64, error) { return 2, 1, nil }
		s, stop := start(t, snapshot.Config{
			EventLoopOverloadRatio: 0.7,
			Signals: []snapshot.Signal{
				{Name: "event_loop", Read: over, Interval: 200 * time.Millisecond, Source: "the UI thread"},
				{Name: "queue", Read: over, OverloadRatio: 0.5},
			},
		})
		defer stop()
		sleep(time.Second)
		loop, queue := signal(t, s, "event_loop"), signal(t, s, "queue")
		if loop.Resource != snapshot.EventLoop || loop.Limit != 0.7 || loop.State != overloaded || loop.Count != 6 {
			t.Errorf("event_loop = %+v, want the replacement, overloaded, with the threshold of the built-in one", loop)
		}
		if queue.Resource != snapshot.Custom || queue.Limit != 0.5 || queue.State != overloaded || queue.Value != 2 || queue.Bound != 1 {
			t.Errorf("queue = %+v, want overloaded by 2 of 1", queue)
		}
		v := view(t, s)
		if got := v.Newest[2]; got.Source != "the UI thread" || got.EventLoop.Delay != 2*time.Second {
			t.Errorf("event_loop = %+v, want 2 s by the UI thread", got)
		}
		if got := v.Current.Binding(); len(got) != 2 || got[0].Signal != "queue" {
			t.Errorf("binding = %v, want queue, the furthest over, first", got)
		}
	})
}

func TestReportedSignalsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := newReports(t, 10, 10)
		s, stop := start(t, snapshot.Config{
			Reports: reports,
			History: 10 * time.Second,
			Signals: []snapshot.Signal{{Name: "both", Read: read}},
		})
		defer stop()
		report := snapshot.Report{TTL: 2 * time.Second, Signals: map[string]snapshot.ReportedSignal{
			"proxies": {Value: 9, Limit: 5}, "both": {Value: 3, Limit: 1}, "quota": {Value: 5, Limit: 5},
		}}
		sleep(500 * time.Millisecond)
		put(t, reports, 500*time.Millisecond, "alice", "w1", report)
		before := view(t, s)
		synctest.Wait()
		if got := times(t, s, "proxies"); !slices.Equal(got, []time.Duration{500 * time.Millisecond}) {
			t.Errorf("proxies sampled at %v, want at once", got)
		}
		sleep(time.Second)
		if got := strings.Join(s.Signals(), " "); got != "cpu memory event_loop client both proxies quota" {
			t.Errorf("Signals = %s", got)
		}
		if v := view(t, s); v.Verdict == before.Verdict {
			t.Error("a new signal is no new verdict")
		}
		if got := signal(t, s, "proxies"); got.State != overloaded || got.Value != 9 || got.Bound != 5 || got.Limit != 0.3 || got.Resource != snapshot.Custom {
			t.Errorf("proxies = %+v, want overloaded by 9 of 5", got)
		}
		if got := signal(t, s, "quota"); got.State != idle {
			t.Errorf("quota = %+v, want idle at its limit", got)
		}
		if got := signal(t, s, "both"); got.Value != 3 || got.Bound != 1 {
			t.Errorf("both = %+v, want the reported 3 of 1, which is worse than the program's own", got)
		}
		sleep(5 * time.Second) // at 6.5 s: expired at 2.5 s, last good reading at 2 s
		if got := signal(t, s, "proxies"); got.State != unknown || !strings.Contains(got.Reason, "no worker reports it") {
			t.Errorf("proxies after its TTL = %+v, want unknown", got)
		}
		if got := signal(t, s, "both"); got.Value != 0 || got.Bound != 1 {
			t.Errorf("both = %+v, want the program's own 0 of 1 again", got)
		}
		sleep(5 * time.Second)
		if s.Resource("proxies") == 0 {
			t.Error("proxies is gone before the history is over")
		}
		sleep(2 * time.Second)
		if s.Resource("proxies") != 0 {
			t.Error("proxies is still there after its reporters were silent for the history")
		}
	})
}

func TestReportedSignalsStayWithinTheLimitOfReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := newReports(t, 10, 2)
		s, stop := start(t, snapshot.Config{Reports: reports})
		defer stop()
		for i, name := range []string{"a", "b", "c", "d", "e"} {
			put(t, reports, time.Duration(i)*2*time.Second, "alice", "w1", snapshot.Report{
				TTL: time.Second, Signals: map[string]snapshot.ReportedSignal{name: {}},
			})
			sleep(2 * time.Second)
		}
		if got := strings.Join(s.Signals()[4:], " "); got != "d e" {
			t.Errorf("reported signals = %s, want the last two", got)
		}
	})
}

func TestInventedSignalsDoNotSetThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := newReports(t, 10, 10)
		s, stop := start(t, snapshot.Config{Reports: reports})
		defer stop()
		sleep(500 * time.Millisecond)
		for i, name := range []string{"a", "b", "c"} { // at 500, 510 and 520 ms
			put(t, reports, 500*time.Millisecond, "alice", name, snapshot.Report{Signals: map[string]snapshot.ReportedSignal{name: {}}})
			sleep(10 * time.Millisecond)
			if got := len(s.Signals()); i > 0 && got != 5 {
				t.Errorf("%d signals before 100 ms are over, want the four and a", got)
			}
		}
		sleep(time.Second / 10)
		for name, want := range map[string]time.Duration{"a": 500 * time.Millisecond, "b": 600 * time.Millisecond, "c": 600 * time.Millisecond} {
			if got := times(t, s, name); !slices.Equal(got, []time.Duration{want}) {
				t.Errorf("%s sampled at %v, want %v", name, got, want)
			}
		}
	})
}

func TestInventedSignalsDoNotEachTakeAHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names, historyBytes = 40, 1 << 20 // an hour of snapshots takes more
		reports := newReports(t, 10, 2)
		s, stop := start(t, snapshot.Config{Reports: reports, History: time.Hour, EventLoopInterval: time.Second})
		defer stop()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range names {
			put(t, reports, time.Duration(i)*200*time.Millisecond, "alice", "w1", snapshot.Report{
				TTL: 150 * time.Millisecond, Signals: map[string]snapshot.ReportedSignal{"s" + strconv.Itoa(i): {}},
			})
			sleep(200 * time.Millisecond)
			if got := len(times(t, s, "s"+strconv.Itoa(i))); got > 2 {
				t.Fatalf("name %d: %d snapshots in 200 ms: it has those of another signal", i, got)
			}
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > names*historyBytes/2 {
			t.Errorf("%d bytes for %d names, want less than %d", got, names, names*historyBytes/2)
		}
	})
}
