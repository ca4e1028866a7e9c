package severity

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// intervalUnits are the units of a time string, the longest first.
var intervalUnits = []struct {
	names []string
	unit  time.Duration
}{
	{[]string{"w", "week", "weeks"}, 7 * 24 * time.Hour},
	{[]string{"d", "day", "days"}, 24 * time.Hour},
	{[]string{"h", "hr", "hrs", "hour", "hours"}, time.Hour},
	{[]string{"m", "min", "mins", "minute", "minutes"}, time.Minute},
	{[]string{"s", "sec", "secs", "second", "seconds"}, time.Second},
	{[]string{"ms", "msec", "msecs", "millisecond", "milliseconds"}, time.Millisecond},
}

// ParseInterval returns the time that a string says, as satella's documentation promises: "10s", "30
// minutes", "1.5h", "2 days", "1 week", "500ms". A number alone is seconds. Several parts add up where each
// unit is smaller than the one before it: "1h30m", "1 hour 30 minutes". A number is decimal digits, perhaps
// with a point between them; units are in lower case. Everything else is an error: a sign, an exponent,
// "inf", "nan", digits of other scripts, units that have no fixed length ("1month"), and what is longer than
// 292 years.
func ParseInterval(text string) (time.Duration, error) {
	rest := strings.Trim(text, " \t")
	sum, last := 0.0, -1
	for first := true; first || rest != ""; first = false {
		number, after := leading(rest, func(c byte) bool { return isDigit(c) || c == '.' })
		name, after := leading(strings.TrimLeft(after, " \t"), isLetter)
		n, ok := parseDecimal(number)
		if !ok {
			return 0, intervalError(text)
		}
		i := findUnit(name)
		if name == "" && first && after == "" {
			i = findUnit("s")
		}
		if i < 0 || i <= last {
			return 0, intervalError(text)
		}
		sum += n * float64(intervalUnits[i].unit)
		last, rest = i, strings.TrimLeft(after, " \t")
	}
	if sum = math.Round(sum); sum >= math.MaxInt64 {
		return 0, fmt.Errorf("severity: interval %q is longer than 292 years", text)
	}
	return time.Duration(sum), nil
}

func intervalError(text string) error {
	return fmt.Errorf(`severity: interval %q: want decimal numbers with units from weeks to ms, the longest first, `+
		`such as "10s", "30 minutes", "1.5h", "2 days" or "1h30m"`, text)
}

// leading splits s after the bytes that belong.
func leading(s string, belongs func(byte) bool) (head, tail string) {
	i := 0
	for i < len(s) && belongs(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' }

// parseDecimal returns the number that is written as digits, perhaps with one point between them.
func parseDecimal(s string) (n float64, ok bool) {
	whole, fraction, point := strings.Cut(s, ".")
	if whole == "" || point && fraction == "" || strings.Contains(fraction, ".") {
		return 0, false
	}
	for i := range len(whole) {
		n = n*10 + float64(whole[i]-'0')
	}
	scale := 1.0
	for i := range min(len(fraction), 18) {
		scale *= 10
		n += float64(fraction[i]-'0') / scale
	}
	return n, true
}

func findUnit(name string) int {
	for i, u := range intervalUnits {
		for _, known := range u.names {
			if name == known {
				return i
			}
		}
	}
	return -1
}
