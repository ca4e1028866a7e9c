package limit_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/snapshot"
)

const (
	python = snapshot.ProfileCrawleePython
	js     = snapshot.ProfileCrawleeJS
)

func crawlee(tb testing.TB, c limit.Crawlee) limit.Law {
	tb.Helper()
	law, err := limit.NewCrawlee(c)
	if err != nil {
		tb.Fatal(err)
	}
	return law
}

func historical(at time.Duration, state snapshot.State, charge int64) limit.Input {
	in := limit.Input{At: at, Charge: charge}
	in.Historical = snapshot.Status{Window: 30 * time.Second, State: state, Signals: []snapshot.SignalStatus{
		{Signal: "memory", State: state, Actual: 0.5, Limit: 0.2},
	}}
	return in
}

// ticks returns the limits after each interval, the first of which is over at once, while all of the limit is in use.
func ticks(law limit.Law, state snapshot.State, begin int64, n int) []int64 {
	var all []int64
	for i := range n {
		begin = law.Step(historical(time.Duration(i)*10*time.Second, state, begin)).Limit
		all = append(all, begin)
	}
	return all
}

// The limits are those of Crawlee's AutoscaledPool: at least one more, and a twentieth rounded up.
func TestCrawleeRamps(t *testing.T) {
	for _, tt := range []struct {
		name  string
		from  int64
		state snapshot.State
		to    int64 // at least or at most
		ticks int
	}{
		{"1 to 10", 1, snapshot.StateIdle, 10, 9},
		{"1 to 20", 1, snapshot.StateIdle, 20, 19},
		{"10 to 100", 10, snapshot.StateIdle, 100, 37},
		{"1 to 100", 1, snapshot.StateIdle, 100, 46},
		{"1 to 200", 1, snapshot.StateIdle, 200, 59},
		{"10 to 200", 10, snapshot.StateIdle, 200, 50},
		{"100 to 50 and below", 100, snapshot.StateOverloaded, 50, 13},
		{"100 to 10", 100, snapshot.StateOverloaded, 10, 35},
		{"100 to 1", 100, snapshot.StateOverloaded, 1, 44},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, profile := range []snapshot.Profile{python, js} {
				law := crawlee(t, limit.Crawlee{Profile: profile, Max: max(tt.from, tt.to), Desired: tt.from})
				got := ticks(law, tt.state, tt.from, 100)
				reached := 1 + slices.IndexFunc(got, func(n int64) bool {
					return tt.state == snapshot.StateIdle && n >= tt.to || tt.state != snapshot.StateIdle && n <= tt.to
				})
				if reached != tt.ticks {
					t.Errorf("%v: %d after %d ticks, want %d: %d", profile, tt.to, reached, tt.ticks, got)
				}
			}
		})
	}
}

func TestCrawleeSequences(t *testing.T) {
	up := []int64{11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 44, 47, 50, 53, 56,
		59, 62, 66, 70, 74, 78, 82, 87, 92, 97, 100, 100}
	if got := ticks(crawlee(t, limit.Crawlee{}), snapshot.StateIdle, 10, len(up)); !slices.Equal(got, up) {
		t.Errorf("up: %d, want %d", got, up)
	}
	down := []int64{95, 90, 85, 80, 76, 72, 68, 64, 60, 57, 54, 51, 48, 45, 42, 39, 37, 35, 33, 31, 29, 27, 25, 23, 21, 19,
		18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1}
	law := crawlee(t, limit.Crawlee{Desired: 100})
	if got := ticks(law, snapshot.StateOverloaded, 100, len(down)); !slices.Equal(got, down) {
		t.Errorf("down: %d, want %d", got, down)
	}
}

func TestCrawlee(t *testing.T) {
	const idle, overloaded, unknown = snapshot.StateIdle, snapshot.StateOverloaded, snapshot.StateUnknown
	type step struct {
		at      time.Duration
		state   snapshot.State
		charge  int64
		want    int64
		binding string
	}
	const s = time.Second
	for _, tt := range []struct {
		name   string
		config limit.Crawlee
		steps  []step
	}{
		{"python begins at 10", limit.Crawlee{}, []step{{0, unknown, 0, 10, "unknown"}}},
		{"javascript begins at the minimum", limit.Crawlee{Profile: js, Min: 3}, []step{{0, unknown, 0, 3, ""}}},
		{"1 grows with nothing in use", limit.Crawlee{Desired: 1}, []step{{0, idle, 0, 2, "grows"}}},
		{"2 needs one in use", limit.Crawlee{Desired: 2}, []step{
			{0, idle, 0, 2, "0 of 2"}, {10 * s, idle, 1, 3, "grows"}}},
		{"nine tenths rounded down must be in use", limit.Crawlee{Desired: 15}, []step{
			{0, idle, 12, 15, "12 of 15"}, {10 * s, idle, 13, 16, ""}}},
		{"only once in an interval", limit.Crawlee{}, []step{
			{0, idle, 10, 11, ""}, {1 * s, idle, 11, 11, ""}, {9 * s, idle, 11, 11, ""}, {10 * s, idle, 11, 12, ""}}},
		{"a step that is a little early counts", limit.Crawlee{}, []step{
			{0, idle, 10, 11, ""}, {9950 * time.Millisecond, idle, 11, 12, ""}, {19 * s, idle, 12, 12, ""},
			{20 * s, idle, 12, 13, ""}}},
		{"a late step does not make up for intervals", limit.Crawlee{}, []step{
			{0, idle, 10, 11, ""}, {35 * s, idle, 11, 12, ""}, {40 * s, idle, 12, 12, ""}, {45 * s, idle, 12, 13, ""}}},
		{"falls with nothing in use", limit.Crawlee{}, []step{{0, overloaded, 0, 9, "memory is overloaded"}}},
		{"not under the minimum", limit.Crawlee{Min: 9}, []step{
			{0, overloaded, 0, 9, ""}, {10 * s, overloaded, 0, 9, ""}}},
		{"not over the maximum", limit.Crawlee{Max: 11}, []step{
			{0, idle, 10, 11, ""}, {10 * s, idle, 11, 11, "maximum"}}},
		{"other steps", limit.Crawlee{StepUp: 0.5, StepDown: 0.1, Interval: s}, []step{
			{0, idle, 10, 15, ""}, {s, overloaded, 15, 13, ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			law := crawlee(t, tt.config)
			for i, s := range tt.steps {
				got := law.Step(historical(s.at, s.state, s.charge))
				if got.Limit != s.want || !strings.Contains(got.Binding, s.binding) {
					t.Errorf("step %d: %d, %q, want %d and %q", i, got.Limit, got.Binding, s.want, s.binding)
				}
			}
		})
	}
}

// In JavaScript nothing scales, up or down, while as many tasks started as may in a minute.
func TestCrawleeCapped(t *testing.T) {
	for _, tt := range []struct {
		profile snapshot.Profile
		state   snapshot.State
		want    int64
	}{
		{python, snapshot.StateIdle, 21}, {python, snapshot.StateOverloaded, 19},
		{js, snapshot.StateIdle, 20}, {js, snapshot.StateOverloaded, 20},
	} {
		law := crawlee(t, limit.Crawlee{Profile: tt.profile, Desired: 20})
		in := historical(0, tt.state, 20)
		in.Pools = []limit.Pool{{Capped: true}}
		if got := law.Step(in).Limit; got != tt.want {
			t.Errorf("%v, %v: %d, want %d", tt.profile, tt.state, got, tt.want)
		}
	}
}

func TestCrawleeRefuses(t *testing.T) {
	_, err := limit.NewCrawlee(limit.Crawlee{
		Min: -1, Max: -2, Desired: 7, Ratio: 1, StepUp: 2, StepDown: -1, Interval: -time.Second,
	})
	for _, want := range []string{"min:", "max:", "desired:", "ratio:", "step-up:", "step-down:", "interval:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that names %s", err, want)
		}
	}
}
