package jobs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Halt says when no more jobs are started, as GNU parallel's --halt does. Its zero value is never.
type Halt struct {
	// Now is whether the jobs that run are ended then.
	Now bool

	// On says what is counted. The zero value is nothing.
	On Outcome

	// Count is how many it takes, or, where that is 0, Ratio what share of all jobs.
	Count int64
	Ratio float64
}

// Outcome is how a job ended.
type Outcome uint8

// What a Halt counts.
const (
	Fail Outcome = iota + 1
	Success
	Done
)

// HaltSyntax says what ParseHalt accepts.
const HaltSyntax = "never, or now or soon, a comma, and fail=N, success=N or done=N, where N may be a percentage"

var outcomes = map[string]Outcome{"fail": Fail, "success": Success, "done": Done}

// ParseHalt parses such as "never", "soon,fail=1" or "now,success=10%".
func ParseHalt(text string) (Halt, error) {
	wrong := fmt.Errorf("halt: %q; want %s", text, HaltSyntax)
	if text == "never" {
		return Halt{}, nil
	}
	when, rule, _ := strings.Cut(text, ",")
	on, number, _ := strings.Cut(rule, "=")
	h := Halt{Now: when == "now", On: outcomes[on]}
	if when != "now" && when != "soon" || h.On == 0 {
		return Halt{}, wrong
	}
	if share, ok := strings.CutSuffix(number, "%"); ok {
		v, err := strconv.ParseFloat(share, 64)
		if err != nil || !(v > 0 && v <= 100) {
			return Halt{}, wrong
		}
		h.Ratio = v / 100
		return h, nil
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 {
		return Halt{}, wrong
	}
	h.Count = n
	return h, nil
}

// String returns what ParseHalt reads.
func (h Halt) String() string {
	if h.On == 0 {
		return "never"
	}
	when, number := "soon", strconv.FormatInt(h.Count, 10)
	if h.Now {
		when = "now"
	}
	if h.Count == 0 {
		number = strconv.FormatFloat(math.Round(h.Ratio*1e6)/1e4, 'f', -1, 64) + "%"
	}
	for word, on := range outcomes {
		if on == h.On {
			return when + "," + word + "=" + number
		}
	}
	return ""
}

// Reached reports whether it is time, after done jobs of which failed did so. total is how many there are; 0 where that
// is not known yet, and then no share of them is reached.
func (h Halt) Reached(done, failed, total int64) bool {
	n := done
	switch h.On {
	case Fail:
		n = failed
	case Success:
		n = done - failed
	case Done:
	default:
		return false
	}
	if h.Count > 0 {
		return n >= h.Count
	}
	return total > 0 && float64(n) >= h.Ratio*float64(total)
}
