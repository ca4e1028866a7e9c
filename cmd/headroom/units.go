package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// parseDuration parses a duration with its unit, such as 1m30s.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			return 0, hint(fmt.Sprintf("with a unit, as in %ss", text))
		}
		return 0, errNotAccepted
	}
	return d, nil
}

// formatDuration prints d as parseDuration reads it, without units that are zero: 1m, not 1m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// parseRatio parses a ratio in (0, 1]. A percentage gets a hint.
func parseRatio(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || math.IsNaN(v) {
		return 0, errNotAccepted
	}
	if (percent || v > 1) && v > 0 && v <= 100 {
		share := strconv.FormatFloat(v/100, 'g', 6, 64)
		return 0, hint(fmt.Sprintf("%s percent is %s", strings.TrimSpace(number), share))
	}
	if percent || v <= 0 || v > 1 {
		return 0, errNotAccepted
	}
	return v, nil
}

// sizeUnits are the units of a size, the greatest first within each system.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// parseSize parses a number of bytes: a whole number, or a number with one of sizeUnits in any case.
func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := text[len(digits):]
	digits = strings.TrimSpace(digits)
	if strings.Trim(digits, "0123456789.") != "" {
		return 0, errNotAccepted
	}
	if unit == "" {
		unit = "B"
	}
	for _, u := range sizeUnits {
		if !strings.EqualFold(u.name, unit) {
			continue
		}
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
			if n > math.MaxInt64/u.bytes {
				return 0, errNotAccepted
			}
			return n * u.bytes, nil
		}
		v, err := strconv.ParseFloat(digits, 64)
		if v *= float64(u.bytes); err != nil || v >= math.MaxInt64 || v != math.Trunc(v) {
			return 0, errNotAccepted
		}
		return int64(v), nil
	}
	if len(unit) == 1 && strings.ContainsAny(unit, "kKmMgGtT") {
		u := strings.ToUpper(unit)
		return 0, hint(fmt.Sprintf("%s%siB or %s%sB", digits, u, digits, u))
	}
	return 0, errNotAccepted
}

// formatSize prints n exactly, as parseSize reads it.
func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if u.bytes > 1 && n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// humanSize prints n in three digits, for people.
func humanSize(n int64) string {
	for _, u := range sizeUnits[:4] {
		if n >= u.bytes {
			return strconv.FormatFloat(float64(n)/float64(u.bytes), 'f', 1, 64) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// humanDuration prints d in about three digits, for people.
func humanDuration(d time.Duration) string {
	switch abs := d.Abs(); {
	case abs >= time.Hour:
		return formatDuration(d.Round(time.Minute))
	case abs >= time.Minute:
		return formatDuration(d.Round(time.Second))
	case abs >= 10*time.Second:
		return d.Round(time.Second).String()
	case abs >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	case abs >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case abs >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	default:
		return d.Round(10 * time.Microsecond).String()
	}
}

// humanRatio prints a ratio as a percentage, for people.
func humanRatio(v float64) string {
	return strconv.FormatFloat(math.Round(v*1000)/10, 'f', -1, 64) + "%"
}
