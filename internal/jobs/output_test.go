package jobs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

func part(text string) jobs.Part {
	return jobs.Part{Text: strings.NewReader(text), Size: int64(len(text))}
}

func TestPrinter(t *testing.T) {
	type printed struct {
		number         int64
		stdout, stderr string
	}
	for _, tt := range []struct {
		name         string
		tag, ordered bool
		jobs         []printed
		out, err     string
	}{
		{"as they come", false, false, []printed{{2, "b\n", "B"}, {1, "a", ""}, {3, "c", "C"}}, "b\nac", "BC"},
		{"in order", false, true, []printed{{2, "b\n", "B"}, {4, "d", ""}, {3, "", ""}, {1, "a", "A"}, {6, "f", ""}, {5, "e", "E"}},
			"ab\ndef", "ABE"},
		{"what is missing is passed over at the end", false, true, []printed{{2, "b", ""}, {4, "d", "D"}}, "bd", "D"},
		{"tagged", true, false, []printed{{1, "a\n\nb", "x\n"}, {2, "c\n", ""}}, "t1\ta\nt1\t\nt1\tb\nt2\tc\n", "t1\tx\n"},
		{"tagged in order", true, true, []printed{{2, "b\n", ""}, {1, "a", ""}}, "t1\ta\nt2\tb\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs strings.Builder
			p := &jobs.Printer{Stdout: &out, Stderr: &errs, Tag: tt.tag, Ordered: tt.ordered,
				Spool: func() (*os.File, error) { return os.Create(filepath.Join(t.TempDir(), "spool")) }}
			for _, j := range tt.jobs {
				if err := p.Print(j.number, "t"+string(rune('0'+j.number)), part(j.stdout), part(j.stderr)); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.out || errs.String() != tt.err {
				t.Errorf("%q and %q, want %q and %q", &out, &errs, tt.out, tt.err)
			}
		})
	}
}

// A line longer than any buffer has its tag once.
func TestPrinterTagsLongLine(t *testing.T) {
	var out strings.Builder
	long := strings.Repeat("x", 100_000)
	p := &jobs.Printer{Stdout: &out, Tag: true}
	if err := p.Print(1, "t", part(long), part("")); err != nil || out.String() != "t\t"+long+"\n" {
		t.Errorf("%d bytes, %v, want %d", out.Len(), err, len(long)+3)
	}
}

type brokenWriter struct{ err error }

func (b brokenWriter) Write([]byte) (int, error) { return 0, b.err }

func TestPrinterFails(t *testing.T) {
	broken := errors.New("broken")
	for _, tag := range []bool{false, true} {
		p := &jobs.Printer{Stdout: brokenWriter{broken}, Tag: tag}
		if err := p.Print(1, "", part("a"), part("")); !errors.Is(err, broken) {
			t.Errorf("tag %t: %v, want the error of the output", tag, err)
		}
	}
	p := &jobs.Printer{Ordered: true, Spool: func() (*os.File, error) { return nil, broken }}
	if err := p.Print(2, "", part("a"), part("")); !errors.Is(err, broken) {
		t.Errorf("%v, want the error of the spool", err)
	}
}

// What waited when printing failed is printed at the end, and where that fails too the spool is gone nevertheless.
func TestPrinterFailsInOrder(t *testing.T) {
	broken := errors.New("broken")
	for _, heals := range []bool{true, false} {
		var out strings.Builder
		spool := filepath.Join(t.TempDir(), "spool")
		p := &jobs.Printer{Stdout: brokenWriter{broken}, Ordered: true, Spool: func() (*os.File, error) { return os.Create(spool) }}
		for _, number := range []int64{3, 2, 5} {
			if err := p.Print(number, "", part(string(rune('a'+number-1))), part("")); err != nil {
				t.Errorf("job %d: %v, want it to wait", number, err)
			}
		}
		if err := p.Print(1, "", part("a"), part("")); !errors.Is(err, broken) {
			t.Errorf("job 1: %v, want the error of the output", err)
		}
		var want error = broken
		printed := ""
		if heals {
			p.Stdout, want, printed = &out, nil, "bce"
		}
		if err := p.Flush(); !errors.Is(err, want) || out.String() != printed {
			t.Errorf("Flush = %v, %q, want %v, %q", err, &out, want, printed)
		}
		if _, err := os.Stat(spool); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the spool is left: %v", err)
		}
		if err := p.Flush(); err != nil {
			t.Errorf("second Flush = %v, want nil", err)
		}
	}
}

func TestLineWriter(t *testing.T) {
	var out strings.Builder
	var lock sync.Mutex
	a := &jobs.LineWriter{To: &out, Lock: &lock, Prefix: "a:"}
	b := &jobs.LineWriter{To: &out, Lock: &lock}
	for _, w := range []struct {
		to   *jobs.LineWriter
		text string
	}{{a, "one "}, {b, "two\nth"}, {a, "line\n\nnext"}, {b, "ree"}, {a, ""}, {a, " end\n"}, {b, "\n"}, {a, "rest"}} {
		if n, err := w.to.Write([]byte(w.text)); n != len(w.text) || err != nil {
			t.Fatal(n, err)
		}
	}
	for _, w := range []*jobs.LineWriter{a, b, a} {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if want := "two\na:one line\na:\na:next end\nthree\na:rest\n"; out.String() != want {
		t.Errorf("%q, want %q", &out, want)
	}
}

// What is held back is bounded.
func TestLineWriterCutsLongLine(t *testing.T) {
	var out strings.Builder
	w := &jobs.LineWriter{To: &out, Lock: new(sync.Mutex)}
	piece := []byte(strings.Repeat("x", 1<<16))
	for range 17 {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if got := out.Len(); got != 17<<16+1 {
		t.Errorf("%d bytes passed on, want %d and a newline", got, 17<<16)
	}
}
