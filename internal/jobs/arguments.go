package jobs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// MaxArgument bounds an argument, and those of one job in a [Chunk] with a space between, in bytes. Linux takes strings of
// 128 KiB with the NUL at their end (MAX_ARG_STRLEN), and that of HEADROOM_ARG begins with its name.
const MaxArgument = 128<<10 - 1 - len(ArgVariable+"=")

// Arguments are the arguments of one job after another. An error ends them.
type Arguments = iter.Seq2[[]string, error]

// Lines returns what r has between delimiters, each as the one argument of a job. The last needs no delimiter after it.
// What holds a NUL, or more than [MaxArgument] bytes, is an error.
func Lines(r io.Reader, delimiter byte) Arguments {
	return func(yield func([]string, error) bool) {
		scan := bufio.NewScanner(r)
		scan.Buffer(make([]byte, 0, 64<<10), MaxArgument+2)
		scan.Split(func(data []byte, end bool) (int, []byte, error) { return cut(data, delimiter, end) })
		n := 0
		for scan.Scan() {
			n++
			text := scan.Text()
			switch {
			case len(text) > MaxArgument:
				yield(nil, tooLong(n))
				return
			case strings.IndexByte(text, 0) >= 0:
				yield(nil, fmt.Errorf("argument %d: a NUL in it; -0 takes NUL for the delimiter", n))
				return
			case !yield([]string{text}, nil):
				return
			}
		}
		switch err := scan.Err(); {
		case errors.Is(err, bufio.ErrTooLong):
			yield(nil, tooLong(n+1))
		case err != nil:
			yield(nil, err)
		}
	}
}

func tooLong(n int) error { return fmt.Errorf("argument %d: over %d bytes", n, MaxArgument) }

// cut is a bufio.SplitFunc.
func cut(data []byte, delimiter byte, end bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, delimiter); i >= 0 {
		return i + 1, data[:i], nil
	}
	if end && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// Values returns each of values as the one argument of a job.
func Values(values []string) Arguments {
	return func(yield func([]string, error) bool) {
		for i := range values {
			if !yield(values[i:i+1:i+1], nil) {
				return
			}
		}
	}
}

// Link returns arguments of a with those of b after them, one with one, until either ends.
func Link(a, b Arguments) Arguments {
	return func(yield func([]string, error) bool) {
		next, stop := iter.Pull2(b)
		defer stop()
		for left, err := range a {
			if err != nil {
				yield(nil, err)
				return
			}
			right, err, ok := next()
			if !ok {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(append(left[:len(left):len(left)], right...), nil) {
				return
			}
		}
	}
}

// Cross returns the arguments of each job of a with those of each of b after them; b varies faster. All of b is held in memory.
func Cross(a, b Arguments) Arguments {
	return func(yield func([]string, error) bool) {
		var right [][]string
		for args, err := range b {
			if err != nil {
				yield(nil, err)
				return
			}
			right = append(right, args)
		}
		for left, err := range a {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, args := range right {
				if !yield(append(left[:len(left):len(left)], args...), nil) {
					return
				}
			}
		}
	}
}

// Chunk returns the arguments of a in groups of up to n: as many as there are and [MaxArgument] lets. n is at least 1.
func Chunk(a Arguments, n int) Arguments {
	return func(yield func([]string, error) bool) {
		var group []string
		size := -1 // with a space between
		for args, err := range a {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, arg := range args {
				if len(group) == n || len(group) > 0 && size+1+len(arg) > MaxArgument {
					if !yield(group, nil) {
						return
					}
					group, size = nil, -1
				}
				group, size = append(group, arg), size+1+len(arg)
			}
		}
		if len(group) > 0 {
			yield(group, nil)
		}
	}
}

// Combine returns the combinations of several inputs, the last varying fastest; open returns the arguments of one.
// There is at least one input, and the first is not linked.
func Combine(inputs []Input, open func(Input) Arguments) Arguments {
	var all, linked Arguments
	for i, input := range inputs {
		next := open(input)
		switch {
		case i == 0:
			linked = next
		case input.Linked:
			linked = Link(linked, next)
		case all == nil:
			all, linked = linked, next
		default:
			all, linked = Cross(all, linked), next
		}
	}
	if all == nil {
		return linked
	}
	return Cross(all, linked)
}

// Count returns how many jobs there are of inputs that are all values, in groups as of [Chunk] where n is over 1; ok is
// false where one is a file.
func Count(inputs []Input, n int) (count int64, ok bool) {
	if n > 1 && len(inputs) == 1 && inputs[0].File == "" {
		for range Chunk(Values(inputs[0].Values), n) {
			count++
		}
		return count, true
	}
	count = 1
	run := int64(0)
	for i, input := range inputs {
		if input.File != "" {
			return 0, false
		}
		switch length := int64(len(input.Values)); {
		case i == 0:
			run = length
		case input.Linked:
			run = min(run, length)
		default:
			count *= run
			run = length
		}
	}
	return count * run, true
}
