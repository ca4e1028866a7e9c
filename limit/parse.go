package limit

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// Parse returns the law of a text: its name, and settings as key=value, apart by spaces, such as
//
//	twostation objective=latency crowded=0.02
//	crawlee profile=js min=1 max=200 desired=10 ratio=0.9 step-up=0.05 step-down=0.05 interval=10s
//	aimd min=1 max=500 start=8 increase=1 decrease=0.9 interval=1s
//	fixed limit=10
//
// The keys are those of [TwoStation], [Crawlee] and [AIMD]. All faults are reported at once.
func Parse(text string) (Law, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, fmt.Errorf("limit: no law is named; known are %s", strings.Join(names(), ", "))
	}
	parse := parsers[words[0]]
	if parse == nil {
		return nil, fmt.Errorf("limit: there is no law %q; known are %s", words[0], strings.Join(names(), ", "))
	}
	s := settings{law: words[0], values: make(map[string]string)}
	for _, word := range words[1:] {
		key, value, ok := strings.Cut(word, "=")
		if _, twice := s.values[key]; !ok || twice {
			s.errs = append(s.errs, fmt.Errorf("limit: %s: %q is not one key=value", s.law, word))
			continue
		}
		s.values[key] = value
	}
	law, err := parse(&s)
	if err = errors.Join(append(s.errs, s.unknown(), err)...); err != nil {
		return nil, err
	}
	return law, nil
}

var parsers = map[string]func(*settings) (Law, error){
	"twostation": func(s *settings) (Law, error) {
		return NewTwoStation(TwoStation{
			Objective: Objective(s.text("objective")), Busy: s.number("busy"), Crowded: s.number("crowded"),
			Margin: s.number("margin"), Memory: s.number("memory"),
		})
	},
	"crawlee": func(s *settings) (Law, error) {
		c := Crawlee{
			Min: s.whole("min"), Max: s.whole("max"), Desired: s.whole("desired"), Ratio: s.number("ratio"),
			StepUp: s.number("step-up"), StepDown: s.number("step-down"), Interval: s.duration("interval"),
		}
		switch profile := s.text("profile"); profile {
		case "", "python":
			c.Profile = snapshot.ProfileCrawleePython
		case "js":
			c.Profile = snapshot.ProfileCrawleeJS
		default:
			s.errs = append(s.errs, fmt.Errorf("limit: crawlee: profile: %q is neither python nor js", profile))
		}
		return NewCrawlee(c)
	},
	"aimd": func(s *settings) (Law, error) {
		return NewAIMD(AIMD{
			Min: s.whole("min"), Max: s.whole("max"), Start: s.whole("start"), Increase: s.number("increase"),
			Decrease: s.number("decrease"), Interval: s.duration("interval"),
		})
	},
	"fixed": func(s *settings) (Law, error) { return NewFixed(s.whole("limit")) },
}

func names() []string { return slices.Sorted(maps.Keys(parsers)) }

// settings are the words of a law that were not asked for yet.
type settings struct {
	law    string
	values map[string]string
	keys   []string // all that were asked for
	errs   []error
}

func (s *settings) text(key string) string {
	value := s.values[key]
	delete(s.values, key)
	s.keys = append(s.keys, key)
	return value
}

// take returns what a setting says, and 0 where it is not set. A zero that is written is an error: it would mean the
// default.
func take[T comparable](s *settings, key, want string, parse func(string) (T, error)) T {
	var zero T
	_, set := s.values[key]
	text := s.text(key)
	if !set {
		return zero
	}
	value, err := parse(text)
	if err != nil || value == zero {
		s.errs = append(s.errs, fmt.Errorf("limit: %s: %s: %q is not %s", s.law, key, text, want))
		return zero
	}
	return value
}

func (s *settings) number(key string) float64 {
	return take(s, key, "a number over 0", func(t string) (float64, error) { return strconv.ParseFloat(t, 64) })
}

func (s *settings) whole(key string) int64 {
	return take(s, key, "a whole number over 0", func(t string) (int64, error) { return strconv.ParseInt(t, 10, 64) })
}

func (s *settings) duration(key string) time.Duration {
	return take(s, key, "a duration over 0, such as 10s", time.ParseDuration)
}

// unknown returns an error for the words that nobody asked for.
func (s *settings) unknown() error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		errs = append(errs, fmt.Errorf("limit: %s: there is no setting %q; known are %s",
			s.law, key, strings.Join(s.keys, ", ")))
	}
	return errors.Join(errs...)
}
