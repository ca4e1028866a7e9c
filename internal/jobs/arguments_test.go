package jobs_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

// flat returns the jobs as "a b|c d", and the error at the end.
func flat(arguments jobs.Arguments) (string, error) {
	var all []string
	for args, err := range arguments {
		if err != nil {
			return strings.Join(all, "|"), err
		}
		all = append(all, strings.Join(args, " "))
	}
	return strings.Join(all, "|"), nil
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", jobs.MaxArgument)
	for _, tt := range []struct {
		name, text string
		delimiter  byte
		want       string
		fault      string
	}{
		{"lines", "a\nb c\n", '\n', "a|b c", ""},
		{"no end", "a\nb", '\n', "a|b", ""},
		{"empty lines count", "a\n\nb\n\n", '\n', "a||b|", ""},
		{"nothing", "", '\n', "", ""},
		{"NUL", "a\nb\x00c\x00", 0, "a\nb|c", ""},
		{"comma", "a,b\n", ',', "a|b\n", ""},
		{"NUL within", "a\nb\x00c\n", '\n', "a", "argument 2: a NUL"},
		{"as long as may be", long + "\n" + long, '\n', long + "|" + long, ""},
		{"too long", "a\n" + long + "x\n", '\n', "a", "argument 2: over 131058 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.text), iotest.HalfReader(strings.NewReader(tt.text))} {
				got, err := flat(jobs.Lines(r, tt.delimiter))
				if got != tt.want || (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("%.80q, %v, want %.80q, %q", got, err, tt.want, tt.fault)
				}
			}
		})
	}
	broken := errors.New("broken")
	if got, err := flat(jobs.Lines(iotest.ErrReader(broken), '\n')); got != "" || !errors.Is(err, broken) {
		t.Errorf("%q, %v, want the error of the reader", got, err)
	}
}

func TestCombine(t *testing.T) {
	for _, tt := range []struct {
		line  string
		n     int
		want  string
		count int64
	}{
		{"::: a b c", 1, "a|b|c", 3},
		{":::", 1, "", 0},
		{"::: a b ::: x y", 1, "a x|a y|b x|b y", 4},
		{"::: a b ::: x y ::: 1 2", 1, "a x 1|a x 2|a y 1|a y 2|b x 1|b x 2|b y 1|b y 2", 8},
		{"::: a b c :::+ x y", 1, "a x|b y", 2},
		{"::: a b ::: x y :::+ 1 2", 1, "a x 1|a y 2|b x 1|b y 2", 4},
		{"::: a b :::+ 1 2 ::: x y", 1, "a 1 x|a 1 y|b 2 x|b 2 y", 4},
		{"::: a b :::", 1, "", 0},
		{"::: a b c", 2, "a b|c", 2},
		{"::: a b c d", 2, "a b|c d", 2},
	} {
		t.Run(tt.line, func(t *testing.T) {
			command, inputs, err := jobs.Split(append([]string{"echo", "{}"}, strings.Fields(tt.line)...))
			if err != nil || !slices.Equal(command, []string{"echo", "{}"}) {
				t.Fatalf("Split = %q, %v", command, err)
			}
			all := jobs.Combine(inputs, func(in jobs.Input) jobs.Arguments { return jobs.Values(in.Values) })
			if tt.n > 1 {
				all = jobs.Chunk(all, tt.n)
			}
			if got, err := flat(all); got != tt.want || err != nil {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
			if got, ok := jobs.Count(inputs, tt.n); got != tt.count || !ok {
				t.Errorf("Count = %d, %t, want %d", got, ok, tt.count)
			}
			for range all { // to stop early must not run on
				break
			}
		})
	}
}

func TestChunkFitsACommand(t *testing.T) {
	half := strings.Repeat("x", jobs.MaxArgument/2)
	for _, tt := range []struct {
		name string
		args []string
		want []int // arguments of each job
	}{
		{"just fits", []string{half, half[1:], "a"}, []int{2, 1}},
		{"one byte over", []string{half, half + "x", "a"}, []int{1, 2}},
		{"one that fills a job", []string{"a", half + half, "b"}, []int{1, 1, 1}},
		{"empty ones take a byte", slices.Repeat([]string{""}, jobs.MaxArgument+4), []int{jobs.MaxArgument + 1, 3}},
	} {
		var got []int
		for args := range jobs.Chunk(jobs.Values(tt.args), 1<<20) {
			got = append(got, len(args))
			j := jobs.Job{Args: args}
			if n := len(j.Environ()[0]); n >= 128<<10 {
				t.Errorf("%s: HEADROOM_ARG has %d bytes, want less than 128 KiB", tt.name, n)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if n, ok := jobs.Count([]jobs.Input{{Values: tt.args}}, 1<<20); n != int64(len(tt.want)) || !ok {
			t.Errorf("%s: Count = %d, %t, want %d", tt.name, n, ok, len(tt.want))
		}
	}
}

func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		line string
		want string
	}{
		{"echo a", "[echo a] []"},
		{"echo :::", "[echo] [{[]  false}]"},
		{"::: a", "[] [{[a]  false}]"},
		{"echo :::: f g ::: a", "[echo] [{[] f false} {[] g false} {[a]  false}]"},
		{"echo ::: a ::::+ -", "[echo] [{[a]  false} {[] - true}]"},
		{"echo :::+ a", "[] [] :::+: there is no input before it"},
		{"echo ::::", "[] [] ::::: want a file"},
	} {
		command, inputs, err := jobs.Split(strings.Fields(tt.line))
		got := fmt.Sprint(command, " ", inputs)
		if err != nil {
			got += " " + err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.line, got, tt.want)
		}
	}
}

// An error of any input ends the jobs.
func TestCombineFails(t *testing.T) {
	broken := errors.New("broken")
	bad := func(in jobs.Input) jobs.Arguments {
		if in.File != "" {
			return jobs.Lines(iotest.ErrReader(broken), '\n')
		}
		return jobs.Values(in.Values)
	}
	for _, line := range []string{":::: f", ":::: f ::: a", "::: a :::: f", "::: a ::::+ f", ":::: f :::+ a"} {
		_, inputs, err := jobs.Split(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := flat(jobs.Chunk(jobs.Combine(inputs, bad), 2)); !errors.Is(err, broken) {
			t.Errorf("%s: %v, want the error of f", line, err)
		}
		if _, ok := jobs.Count(inputs, 1); ok {
			t.Errorf("%s: counted", line)
		}
	}
}
