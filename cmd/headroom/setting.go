package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// A setting is one thing that `headroom serve` can be told. Its name is the name of the flag, the key in
// the file and, in capitals with HEADROOM_ before it, the environment variable. Everything else that is
// said of settings (help, `headroom config`, docs/operations.md) is made from the table of settings.
type setting struct {
	group    string      // heading in the help
	name     string      // lower case, words joined by '-'
	value    pflag.Value // parses, checks and holds it
	accepts  string      // what is accepted, as the end of "want ..."
	help     string      // what it does, in one line
	unset    string      // the default in words, where it depends on the machine or on another setting
	isSwitch bool        // the flag needs no value
	words    []string    // all that is accepted, where that is a few words
	isList   bool        // several values; the file may hold a sequence
}

// env is the name of the environment variable.
func (s *setting) env() string {
	return "HEADROOM_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// usage is the help of the flag.
func (s *setting) usage() string {
	if len(s.words) > 0 {
		return s.help + ": " + s.accepts
	}
	return s.help
}

// A hint is an error of a parser that adds something to the words "want ...".
type hint string

func (h hint) Error() string { return string(h) }

// want says what is accepted, with the hint that err may hold.
func want(accepts string, err error) string {
	var h hint
	if errors.As(err, &h) {
		return "want " + accepts + " (" + string(h) + ")"
	}
	return "want " + accepts
}

// errNotAccepted is the error of a parser that has nothing to add to them.
var errNotAccepted = errors.New("not accepted")

// typed is a value of one Go type, held in the variable of whoever uses it.
type typed[T any] struct {
	p      *T
	kind   string
	parse  func(string) (T, error)
	format func(T) string
}

// Set parses text and, if it is accepted, stores it.
func (t typed[T]) Set(text string) error {
	v, err := t.parse(text)
	if err != nil {
		return err
	}
	*t.p = v
	return nil
}

// String returns the value such that Set accepts it.
func (t typed[T]) String() string {
	if t.p == nil { // pflag calls it on a zero value
		return ""
	}
	return t.format(*t.p)
}

// Type returns the word that stands for the value in the help.
func (t typed[T]) Type() string { return t.kind }

func durationSetting(name string, p *time.Duration, least, most time.Duration, help string) setting {
	parse := func(text string) (time.Duration, error) {
		d, err := parseDuration(text)
		if err == nil && (d < least || d > most) {
			err = errNotAccepted
		}
		return d, err
	}
	return setting{
		name: name, help: help,
		value:   typed[time.Duration]{p, "duration", parse, formatDuration},
		accepts: fmt.Sprintf("a duration from %s to %s", formatDuration(least), formatDuration(most)),
	}
}

func ratioSetting(name string, p *float64, help string) setting {
	format := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	return setting{
		name: name, help: help,
		value:   typed[float64]{p, "ratio", parseRatio, format},
		accepts: "a ratio over 0 and up to 1",
	}
}

// integer is what a count can be held in.
type integer interface{ int | int64 }

func countSetting[T integer](name string, p *T, least, most int64, help string) setting {
	parse := func(text string) (T, error) {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < least || n > most {
			return 0, errNotAccepted
		}
		return T(n), nil
	}
	format := func(v T) string { return strconv.FormatInt(int64(v), 10) }
	return setting{
		name: name, help: help,
		value:   typed[T]{p, "count", parse, format},
		accepts: fmt.Sprintf("a whole number from %d to %d", least, most),
	}
}

func sizeSetting[T integer](name string, p *T, least, most int64, help string) setting {
	parse := func(text string) (T, error) {
		n, err := parseSize(text)
		if err == nil && (n < least || n > most) {
			err = errNotAccepted
		}
		return T(n), err
	}
	accepts := fmt.Sprintf("a size from %s to %s", formatSize(least), formatSize(most))
	if most == math.MaxInt64 {
		accepts = "a size, such as 4GiB"
	}
	return setting{
		name: name, help: help,
		value:   typed[T]{p, "size", parse, func(v T) string { return formatSize(int64(v)) }},
		accepts: accepts,
	}
}

func switchSetting(name string, p *bool, help string) setting {
	parse := func(text string) (bool, error) {
		if text != "true" && text != "false" {
			return false, errNotAccepted
		}
		return text == "true", nil
	}
	return setting{
		name: name, help: help, isSwitch: true,
		value:   typed[bool]{p, "bool", parse, strconv.FormatBool},
		accepts: "true or false",
	}
}

// A choice is one of the words that a setting accepts.
type choice[T comparable] struct {
	word  string
	value T
}

// choiceSetting is a setting of a few words; kind is what they name.
func choiceSetting[T comparable](name, kind string, p *T, choices []choice[T], help string) setting {
	words := make([]string, len(choices))
	for i, c := range choices {
		words[i] = c.word
	}
	parse := func(text string) (T, error) {
		for _, c := range choices {
			if c.word == text {
				return c.value, nil
			}
		}
		var none T
		return none, errNotAccepted
	}
	format := func(v T) string {
		for _, c := range choices {
			if c.value == v {
				return c.word
			}
		}
		return ""
	}
	return setting{
		name: name, help: help, words: words,
		value:   typed[T]{p, kind, parse, format},
		accepts: orList(words),
	}
}

// textSetting is a setting of kind "path", "address" or the like; check says what is wrong with a text
// that is not accepted, and may be nil.
func textSetting(name, kind string, p *string, accepts string, check func(string) error, help string) setting {
	parse := func(text string) (string, error) {
		if check != nil {
			if err := check(text); err != nil {
				return "", err
			}
		}
		return text, nil
	}
	return setting{
		name: name, help: help, accepts: accepts,
		value: typed[string]{p, kind, parse, func(s string) string { return s }},
	}
}

// listSetting is a setting of several texts. In a flag or a variable they are separated by commas, with
// double quotes around one that holds a comma. check may be nil.
func listSetting(name, kind string, p *[]string, accepts string, check func(string) error, help string) setting {
	parse := func(text string) ([]string, error) {
		if text == "" {
			return nil, nil
		}
		items, err := csv.NewReader(strings.NewReader(text)).Read()
		if err != nil || strings.ContainsAny(text, "\r\n") {
			return nil, errNotAccepted
		}
		var wrong itemErrors
		for i, item := range items {
			items[i] = strings.TrimSpace(item)
			if items[i] == "" || slices.Contains(items[:i], items[i]) {
				wrong = append(wrong, itemError{items[i], hint("each one once, none empty")})
			} else if check != nil {
				if err := check(items[i]); err != nil {
					wrong = append(wrong, itemError{items[i], err})
				}
			}
		}
		if len(wrong) > 0 {
			return nil, wrong
		}
		return items, nil
	}
	return setting{
		name: name, help: help, accepts: accepts, isList: true,
		value: typed[[]string]{p, kind, parse, joinList},
	}
}

// itemErrors are those of the items of a list that are not accepted.
type itemErrors []itemError

type itemError struct {
	item string
	err  error
}

func (e itemErrors) Error() string { return errors.Join(e.Unwrap()...).Error() }

func (e itemErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i].err
	}
	return all
}

// joinList is the inverse of the parser of a list.
func joinList(items []string) string {
	if len(items) == 0 {
		return ""
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	w.Write(items) // a strings.Builder takes every write
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}

// orList joins words as in "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
