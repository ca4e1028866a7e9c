package limit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/snapshot"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text, name string
		first      int64 // limit, of three and a half cores and an idle host
	}{
		{"twostation", "twostation", 7},
		{"twostation objective=latency busy=0.9 crowded=0.02 margin=3 memory=0.8", "twostation", 7},
		{"crawlee", "crawlee", 11},
		{"  crawlee  profile=js min=2\tmax=50 desired=20 ratio=0.5 step-up=0.1 step-down=0.2 interval=1s ", "crawlee", 22},
		{"aimd", "aimd", 5},
		{"aimd min=2 max=60 start=8 increase=2 decrease=0.5 interval=500ms", "aimd", 10},
		{"fixed limit=10", "fixed", 10},
	} {
		law, err := limit.Parse(tt.text)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		in := input(0, snapshot.StateIdle, 100)
		in.Historical = in.Current
		if got := law.Step(in).Limit; law.Name() != tt.name || got != tt.first {
			t.Errorf("%q: %s, first limit %d, want %s, %d", tt.text, law.Name(), got, tt.name, tt.first)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", []string{"no law is named", "aimd, crawlee, fixed, twostation"}},
		{"vegas", []string{`there is no law "vegas"`, "twostation"}},
		{"fixed", []string{"fixed: 0 is less than 1"}},
		{"fixed limit=0", []string{`limit: "0" is not a whole number over 0`}},
		{"twostation objective=speed busy=2 margin=x memory= fast=1 latency busy=1", []string{
			`objective: "speed" is neither throughput nor latency`, "busy: 2 is not in [0.5, 0.999]",
			`margin: "x" is not a number over 0`, `memory: "" is not`, `there is no setting "fast"; known are objective, busy`,
			`"latency" is not one key=value`, `"busy=1" is not one`}},
		{"twostation busy=NaN", []string{"busy: NaN is not in"}},
		{"crawlee profile=ruby interval=10 max=1.5", []string{
			`profile: "ruby" is neither`, `interval: "10" is not a duration`, `max: "1.5" is not a whole`}},
	} {
		law, err := limit.Parse(tt.text)
		if err == nil {
			t.Errorf("%q: %s, want an error", tt.text, law.Name())
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q in it", tt.text, err, want)
			}
		}
	}
}

func TestShadow(t *testing.T) {
	five, err := limit.Parse("fixed limit=5")
	if err != nil {
		t.Fatal(err)
	}
	s := limit.NewShadow(five, crawlee(t, limit.Crawlee{Interval: time.Second}))
	for i, want := range []int64{11, 12} {
		got := s.Step(historical(time.Duration(i)*time.Second, snapshot.StateIdle, 100))
		if len(got) != 2 || got[0].Law != "fixed" || got[1].Law != "crawlee" ||
			got[0].Decision.Limit != 5 || got[1].Decision.Limit != want {
			t.Errorf("step %d: %+v, want fixed 5 and crawlee %d", i, got, want)
		}
	}
}
