package diagnostics_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/diagnostics"
)

const mb = 1 << 20

// record returns the log of a task whose readings are given by read, stopped after d.
func record(t *testing.T, d time.Duration, interval time.Duration, read func(context.Context) (diagnostics.Memory, error)) string {
	t.Helper()
	var log bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	err := diagnostics.RecordMemory(ctx, diagnostics.MemoryRecording{
		Interval: interval, Read: read,
		Append: func(p []byte) error { log.Write(p); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return log.String()
}

func parse(t *testing.T, text string) *diagnostics.MemoryLog {
	t.Helper()
	log, err := diagnostics.ParseMemoryLog([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return log
}

func TestMemoryLog(t *testing.T) {
	t.Run("the axis is real time and the last sample is there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			log := parse(t, record(t, 7500*time.Millisecond, 0, func(context.Context) (diagnostics.Memory, error) {
				if n++; n == 2 {
					time.Sleep(300 * time.Millisecond) // a reading that is slow
				}
				sizes := []int64{10, 30, 20, 25, 15}
				return diagnostics.Memory{RSS: sizes[n-1] * mb, Processes: n}, nil
			}))
			type row struct {
				at        time.Duration
				rss, peak int64
			}
			want := []row{{0, 10, 10}, {2300 * time.Millisecond, 30, 30}, {4 * time.Second, 20, 30}, {6 * time.Second, 25, 30}, {7500 * time.Millisecond, 15, 30}}
			if len(log.Samples) != len(want) {
				t.Fatalf("%d samples, want %d: %+v", len(log.Samples), len(want), log.Samples)
			}
			for i, s := range log.Samples {
				if got := (row{s.At, s.RSS / mb, *s.Peak / mb}); got != want[i] {
					t.Errorf("sample %d is %v, want %v", i, got, want[i])
				}
			}
		})
	})
	t.Run("a task that ends tells how much it used", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			text := record(t, time.Hour, 0, func(context.Context) (diagnostics.Memory, error) {
				if n++; n == 3 {
					return diagnostics.Memory{}, diagnostics.ErrEnded
				}
				peak := int64(50 * mb)
				return diagnostics.Memory{RSS: 40 * mb, Peak: &peak, Processes: 1}, nil
			})
			log := parse(t, text)
			last := log.Samples[len(log.Samples)-1]
			if len(log.Samples) != 3 || last.Processes != 0 || last.RSS != 0 || *last.Peak != 50*mb || last.PSS != nil {
				t.Errorf("the log ends %+v, want no process and a peak of 50 MB:\n%s", last, text)
			}
		})
	})
	t.Run("a task that is over at once has two samples", func(t *testing.T) {
		log := parse(t, record(t, 0, 0, func(ctx context.Context) (diagnostics.Memory, error) {
			return diagnostics.Memory{RSS: mb, Processes: 1}, ctx.Err()
		}))
		if len(log.Samples) != 2 {
			t.Errorf("%d samples, want 2", len(log.Samples))
		}
	})
	t.Run("what is not known is told once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			text := record(t, 9*time.Second, 0, func(context.Context) (diagnostics.Memory, error) {
				return diagnostics.Memory{}, errors.New("hid\nden")
			})
			if strings.Count(text, `hid\nden`) != 1 || strings.Count(text, "\n") != 2 {
				t.Errorf("the log is %q", text)
			}
		})
	})
	t.Run("an early end is noticed at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ended := make(chan struct{})
			var over atomic.Bool
			time.AfterFunc(500*time.Millisecond, func() { over.Store(true); close(ended) })
			began := time.Now()
			err := diagnostics.RecordMemory(t.Context(), diagnostics.MemoryRecording{
				Ended:  ended,
				Append: func([]byte) error { return nil },
				Read: func(context.Context) (diagnostics.Memory, error) {
					if over.Load() {
						return diagnostics.Memory{}, diagnostics.ErrEnded
					}
					return diagnostics.Memory{}, nil
				},
			})
			if took := time.Since(began); err != nil || took != 500*time.Millisecond {
				t.Errorf("ended after %v with %v", took, err)
			}
		})
	})
	t.Run("a full log ends the recording", func(t *testing.T) {
		err := diagnostics.RecordMemory(t.Context(), diagnostics.MemoryRecording{
			Append: func([]byte) error { return diagnostics.ErrTooLarge },
			Read:   func(context.Context) (diagnostics.Memory, error) { return diagnostics.Memory{}, nil },
		})
		if !errors.Is(err, diagnostics.ErrTooLarge) {
			t.Errorf("RecordMemory = %v, want ErrTooLarge", err)
		}
	})
}

// logOf returns a log with and without what may not be known.
func logOf() *diagnostics.MemoryLog {
	log := &diagnostics.MemoryLog{}
	for i := range int64(5) {
		s := diagnostics.MemorySample{At: time.Duration(i) * 2001 * time.Millisecond}
		s.RSS, s.Processes = (10+i)*mb+4096, int(i)
		peak := s.RSS + mb
		s.Peak = &peak
		if i > 2 {
			s.PSS, s.Cgroup = &s.RSS, &peak
		}
		log.Samples = append(log.Samples, s)
	}
	return log
}

func TestMemoryLogForms(t *testing.T) {
	log := logOf()
	text := string(log.Text())
	lines := strings.Split(text, "\n")
	if !strings.HasPrefix(lines[0], "# Seconds\tMemory in MB\t") || !strings.HasPrefix(lines[2], "2.001\t11.004\t") {
		t.Errorf("the text form is\n%s", text)
	}
	again := parse(t, text)
	if got := string(again.Text()); got != text {
		t.Errorf("parsed and printed it is\n%s, was\n%s", got, text)
	}
	if got := again.Samples[1]; got.RSS != 11*mb+4096 || got.PSS != nil || again.Samples[4].PSS == nil {
		t.Errorf("the second sample is %+v", got)
	}
	encoded, err := log.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Samples []struct {
			Seconds  float64
			RSSBytes int64  `json:"rss_bytes"`
			PSSBytes *int64 `json:"pss_bytes"`
		}
	}
	if err := json.Unmarshal(encoded, &parsed); err != nil {
		t.Fatal(err)
	}
	if s := parsed.Samples; len(s) != 5 || s[1].Seconds != 2.001 || s[1].RSSBytes != 11*mb+4096 || s[1].PSSBytes != nil || s[4].PSSBytes == nil {
		t.Errorf("as JSON it is %s", encoded)
	}
	picture := log.SVG(`task <img onerror="x"> & ` + "\x1b[2J")
	decoder := xml.NewDecoder(bytes.NewReader(picture))
	paths := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, picture)
		}
		if start, ok := token.(xml.StartElement); ok {
			switch start.Name.Local {
			case "path":
				paths++
			case "svg", "rect", "text":
			default:
				t.Errorf("the picture has an element %q", start.Name.Local)
			}
		}
	}
	if paths < 10 || bytes.Contains(picture, []byte("NaN")) || bytes.Contains(picture, []byte("\x1b")) {
		t.Errorf("the picture is\n%s", picture)
	}
}

func TestParseMemoryLog(t *testing.T) {
	pulp := "# Seconds\tMemory in MB\n0\t54.25\n2\t61.5\n4\t6"
	log := parse(t, pulp)
	if len(log.Samples) != 2 || log.Samples[1].At != 2*time.Second || log.Samples[1].RSS != 61*mb+mb/2 {
		t.Errorf("Pulp's own log is %+v, want two samples: the third line is torn", log.Samples)
	}
	for _, bad := range []string{"", "x", "1\n", "1\t2\t3\t4\t5\t6\t7\t8\t9\n", "1\t-2\n", "Inf\t1\n", "NaN\t1\n", "1e300\t1\n", "1\t1e300\n", "1\tx\n"} {
		if log, err := diagnostics.ParseMemoryLog([]byte(bad)); err == nil {
			t.Errorf("ParseMemoryLog(%q) = %+v, want an error", bad, log)
		}
	}
}

func FuzzMemoryLog(f *testing.F) {
	f.Add(logOf().Text())
	f.Add([]byte("# Seconds\tMemory in MB\n0\t1e12\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		log, err := diagnostics.ParseMemoryLog(text)
		if err != nil {
			return
		}
		if _, err := log.JSON(); err != nil {
			t.Error(err)
		}
		if picture := log.SVG(string(text)); len(picture) > 1<<20+8*len(text) {
			t.Errorf("a picture of %d bytes", len(picture))
		}
		if _, err := diagnostics.ParseMemoryLog(log.Text()); err != nil {
			t.Errorf("what is printed is not parsed: %v", err)
		}
	})
}

// The recipe of the documentation, where gnuplot is installed.
func TestGnuplot(t *testing.T) {
	if _, err := exec.LookPath("gnuplot"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "memory.datum"), logOf().Text(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("gnuplot", "-e", `set terminal svg; set output "memory.svg"; set xlabel "Seconds"; set ylabel "MB"; `+
		`plot "memory.datum" using 1:2 with lines title "memory", "" using 1:4 with lines title "PSS"`)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("gnuplot: %v\n%s", err, out)
	}
	picture, err := os.ReadFile(filepath.Join(dir, "memory.svg"))
	if err != nil || !bytes.Contains(picture, []byte("<path")) {
		t.Errorf("gnuplot draws %d bytes, %v", len(picture), err)
	}
}

func TestChoose(t *testing.T) {
	chosen, refused := diagnostics.Choose([]string{" memory ", "memory", "memray", "ebpf", "", "cpu", "debug-logs", "ebpf"},
		[]string{"memory_profile", "logs", "cpu_profile"}, []string{"goroutines"})
	var names []string
	for _, r := range chosen {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, " "); got != "goroutines memory cpu_profile logs" {
		t.Errorf("chosen are %s", got)
	}
	if len(refused) != 2 || refused[0] != (diagnostics.Refusal{Name: "memray", Reason: diagnostics.NotAllowed}) ||
		refused[1] != (diagnostics.Refusal{Name: "ebpf", Reason: diagnostics.NotKnown}) {
		t.Errorf("refused are %v", refused)
	}
	if chosen, refused := diagnostics.Choose([]string{"memory"}, nil, nil); len(chosen) != 0 || len(refused) != 1 {
		t.Errorf("with nothing allowed %v are chosen and %v refused", chosen, refused)
	}
	for _, name := range []string{"memory_profile", "pyinstrument_profile", "memray_profile", "task_logs"} {
		if r, ok := diagnostics.Lookup(name); !ok || r.Artifact != name {
			t.Errorf("Pulp's %s is %+v", name, r)
		}
	}
}
