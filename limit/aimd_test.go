package limit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/snapshot"
)

func TestAIMD(t *testing.T) {
	const idle, overloaded, unknown = snapshot.StateIdle, snapshot.StateOverloaded, snapshot.StateUnknown
	type step struct {
		at        time.Duration
		state     snapshot.State
		charge    int64
		throttled int64
		want      int64
		binding   string
	}
	const s = time.Second
	for _, tt := range []struct {
		name   string
		config limit.AIMD
		steps  []step
	}{
		{"begins at the cores, rounded up", limit.AIMD{}, []step{{0, unknown, 0, 0, 4, "unknown"}}},
		{"grows by one a second while it is used", limit.AIMD{}, []step{
			{0, idle, 4, 0, 5, "grows"}, {s / 2, idle, 5, 0, 5, ""}, {s, idle, 4, 0, 5, "not all"}, {2 * s, idle, 5, 0, 6, ""}}},
		{"falls by a tenth", limit.AIMD{Start: 100}, []step{
			{0, overloaded, 0, 0, 90, "memory"}, {s, overloaded, 0, 0, 81, ""}}},
		{"falls when it is refused, once in an interval", limit.AIMD{Start: 100}, []step{
			{0, idle, 0, 3, 90, "3 calls"}, {s / 2, idle, 0, 2, 90, ""}, {s, idle, 0, 0, 81, "2 calls"}, {2 * s, idle, 81, 0, 82, ""}}},
		{"keeps within its bounds", limit.AIMD{Min: 3, Max: 5, Start: 4}, []step{
			{0, idle, 4, 0, 5, ""}, {s, idle, 5, 0, 5, ""}, {2 * s, overloaded, 0, 0, 4, ""}, {3 * s, overloaded, 0, 0, 4, ""},
			{4 * s, overloaded, 0, 0, 3, ""}, {8 * s, overloaded, 0, 0, 3, ""}}},
		{"moves as it is set", limit.AIMD{Start: 10, Increase: 5, Decrease: 0.5, Interval: 2 * s}, []step{
			{0, idle, 10, 0, 15, ""}, {s, idle, 15, 0, 15, ""}, {2 * s, overloaded, 0, 0, 7, ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			law, err := limit.NewAIMD(tt.config)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range tt.steps {
				in := input(s.at, s.state, s.charge)
				in.Pools = []limit.Pool{{Throttled: s.throttled}}
				got := law.Step(in)
				if got.Limit != s.want || !strings.Contains(got.Binding, s.binding) {
					t.Errorf("step %d: %d, %q, want %d and %q", i, got.Limit, got.Binding, s.want, s.binding)
				}
			}
		})
	}
}

func TestAIMDRefuses(t *testing.T) {
	_, err := limit.NewAIMD(limit.AIMD{Min: -1, Max: -2, Start: 7, Increase: -1, Decrease: 1, Interval: -1})
	for _, want := range []string{"min:", "max:", "start:", "increase:", "decrease:", "interval:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that names %s", err, want)
		}
	}
}
