package diagnostics_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/diagnostics"
)

// steps returns the steps of one artifact's life, in order: create, two segments, seal.
func steps(t *testing.T) []string {
	t.Helper()
	var all []string
	c := diagnostics.WithFaults(diagnostics.Config{Dir: t.TempDir()}, func(step string) error {
		all = append(all, step)
		return nil
	})
	if _, err := write(open(t, c), header("uid:1", "t", "r", "n"), "x", diagnostics.End{}); err != nil {
		t.Fatal(err)
	}
	if len(all) < 12 {
		t.Fatalf("only the steps %q", all)
	}
	return all
}

// The disk is full at each step in turn, for good or for a while: what was sealed stays, the error is clear, and
// once there is room the artifact is sealed after all.
func TestFullDisk(t *testing.T) {
	for _, step := range steps(t) {
		t.Run(step, func(t *testing.T) {
			full := false
			dir := t.TempDir()
			c := diagnostics.WithFaults(diagnostics.Config{Dir: dir}, func(s string) error {
				if full && s == step {
					return &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
				}
				return nil
			})
			s := open(t, c)
			before := seal(t, s, header("uid:1", "t", "0", "before"), "sealed before", diagnostics.End{})
			full = true
			w, err := s.Create(header("uid:1", "t", "r", "n"))
			if err != nil {
				if !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("Create: %v, want ENOSPC", err)
				}
				full = false
				if got := s.List(diagnostics.Query{}, "", 9); len(got) != 1 {
					t.Errorf("after a Create that failed there are %v", ids(got))
				}
				if left, _ := filepath.Glob(filepath.Join(dir, "open", "*")); len(left) != 0 {
					t.Errorf("it leaves %v", left)
				}
				return
			}
			appended := w.Append([]byte("first segment"))
			if appended != nil && !errors.Is(appended, syscall.ENOSPC) {
				t.Errorf("Append: %v, want ENOSPC", appended)
			}
			a, err := w.Seal(diagnostics.End{})
			full = false
			if err != nil {
				if !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("Seal: %v, want ENOSPC", err)
				}
				if got, err := s.Get(a.ID); err != nil || got.Sealed {
					t.Errorf("announced before it is sealed: %+v, %v", got, err)
				}
				if _, err := s.Expire(); err != nil {
					t.Errorf("Expire once there is room: %v", err)
				}
			}
			got, err := s.Get(a.ID)
			if err != nil || !got.Sealed {
				t.Fatalf("once there is room: %+v, %v, want it sealed", got, err)
			}
			want := "first segment"
			if appended != nil {
				want = ""
				if !strings.Contains(got.Truncated, "no space") {
					t.Errorf("truncated because of %q, want it to tell of space", got.Truncated)
				}
			}
			if text := content(t, s, a.ID); text != want {
				t.Errorf("it holds %q, want %q", text, want)
			}
			if text := content(t, s, before.ID); text != "sealed before" {
				t.Errorf("what was sealed before holds %q", text)
			}
			if bytes, _ := s.Used(); bytes != int64(len(want)+len("sealed before")) {
				t.Errorf("%d bytes are counted", bytes)
			}
		})
	}
}

// A step that fails until the process ends leaves what the next one can seal.
func TestFaultUntilTheEnd(t *testing.T) {
	for _, step := range steps(t) {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			c := diagnostics.WithFaults(diagnostics.Config{Dir: dir}, func(s string) error {
				if s == step {
					return syscall.EIO
				}
				return nil
			})
			s := open(t, c)
			a, _ := write(s, header("uid:1", "t", "r", "n"), "content", diagnostics.End{})
			sealed, _ := s.Get(a.ID)
			s.Close()
			again, found, err := diagnostics.Open(diagnostics.Config{Dir: dir})
			if err != nil || found.Faults != nil || len(found.Damaged) > 0 {
				t.Fatalf("found %+v, %v", found, err)
			}
			defer again.Close()
			if sealed.Sealed && content(t, again, a.ID) != "content" {
				t.Error("what was sealed is lost")
			}
			for _, a := range again.List(diagnostics.Query{}, "", 9) {
				if text := content(t, again, a.ID); text != "content" || !a.Sealed {
					t.Errorf("%+v holds %q", a, text)
				}
			}
		})
	}
}

// A child that is killed at a step, after it has told which artifacts it knows to be sealed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DIAGNOSTICS_CHILD"); dir != "" {
		die(dir, os.Getenv("DIAGNOSTICS_STEP"))
	}
	os.Exit(m.Run())
}

func die(dir, at string) {
	armed := false
	c := diagnostics.WithFaults(diagnostics.Config{Dir: dir}, func(step string) error {
		if armed && step == at {
			killSelf()
		}
		return nil
	})
	s, _, err := diagnostics.Open(c)
	if err != nil {
		panic(err)
	}
	a, err := write(s, header("uid:1", "t", "r", "n"), "the older one", diagnostics.End{})
	if err != nil {
		panic(err)
	}
	fmt.Println(a.ID)
	armed = true
	w, err := s.Create(header("uid:1", "t", "r", "n"))
	if err != nil {
		panic(err)
	}
	for i := range 3 {
		if err := w.Append(fmt.Appendf(nil, "segment %d\n", i)); err != nil {
			panic(err)
		}
	}
	a, err = w.Seal(diagnostics.End{Time: began.Add(time.Second)})
	if err != nil {
		panic(err)
	}
	fmt.Println(a.ID)
	killSelf()
}

func TestKilledAtEveryStep(t *testing.T) {
	all := slices.Compact(append(steps(t), "delete the manifest", "delete the content", "never"))
	for _, step := range all {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			told := killedChild(t, dir, step)
			s, found, err := diagnostics.Open(diagnostics.Config{Dir: dir})
			if err != nil || found.Faults != nil || len(found.Damaged) > 0 {
				t.Fatalf("found %+v, %v", found, err)
			}
			defer s.Close()
			left := s.List(diagnostics.Query{}, "", 9)
			// The older one stays until a whole one replaces it.
			if last := told[len(told)-1]; !slices.Contains(ids(left), last) && len(told) > 1 {
				t.Errorf("%s was announced as sealed and is lost", last)
			}
			whole := false
			for _, a := range left {
				switch text := content(t, s, a.ID); {
				case !a.Sealed:
					t.Errorf("%+v is not sealed", a)
				case text == "the older one" || text == "segment 0\nsegment 1\nsegment 2\n" && a.Truncated == "":
					whole = true
				default:
					t.Errorf("%+v holds %q", a, text)
				}
			}
			if !whole {
				t.Errorf("no whole artifact is left: %+v", left)
			}
			// Nothing is left behind that is not an artifact.
			files := map[string]bool{}
			for _, pattern := range []string{"open/*", "data/*", "manifests/*"} {
				matches, _ := filepath.Glob(filepath.Join(dir, pattern))
				for _, m := range matches {
					files[strings.TrimSuffix(filepath.Base(m), ".json")] = true
				}
			}
			if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, ids(left)) {
				t.Errorf("the files are of %v, the artifacts %v", got, ids(left))
			}
		})
	}
}

// A process that is killed between two segments leaves the first ones.
func TestHalfWrittenSegment(t *testing.T) {
	for name, damage := range map[string]func(data, journal string) error{
		"content without its record": func(data, _ string) error { return appendTo(data, "half a seg") },
		"record without its content": func(_, journal string) error {
			return appendTo(journal, "S\x20\x00\x00\x00\x01\x02\x03\x04")
		},
		"half a record": func(_, journal string) error { return appendTo(journal, "S\x20") },
		"zeros": func(data, journal string) error {
			return errors.Join(appendTo(data, "\x00\x00"), appendTo(journal, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, diagnostics.Config{Dir: dir})
			w, err := s.Create(header("uid:1", "t", "r", "n"))
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Append([]byte("whole\n")); err != nil {
				t.Fatal(err)
			}
			s.Close()
			at := filepath.Join(dir, "open", w.ID())
			if err := damage(at+".data", at+".journal"); err != nil {
				t.Fatal(err)
			}
			s, found, err := diagnostics.Open(diagnostics.Config{Dir: dir})
			if err != nil || found.Faults != nil || len(found.Recovered) != 1 {
				t.Fatalf("found %+v, %v, want one recovered", found, err)
			}
			defer s.Close()
			a := found.Recovered[0]
			if text := content(t, s, w.ID()); text != "whole\n" || a.Truncated == "" || !a.Failed {
				t.Errorf("recovered %+v with %q, want the whole segment, truncated, of a failed task", a, text)
			}
		})
	}
}

func appendTo(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func TestTenThousandArtifacts(t *testing.T) {
	const n = 10_000
	c := diagnostics.Unsynced(diagnostics.Config{Dir: t.TempDir()})
	s := open(t, c)
	for i := range n {
		_, err := write(s, header("uid:1", fmt.Sprint("task", i%100), fmt.Sprint(i), "log"), "x", diagnostics.End{})
		if errors.Is(err, syscall.ENOSPC) {
			s.Close()
			t.Skip("20,000 small files need more room:", err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s, found, err := diagnostics.Open(c)
	if err != nil || found.Artifacts != n {
		t.Fatalf("found %+v, %v, want %d artifacts", found, err, n)
	}
	defer s.Close()
	seen := map[string]bool{}
	for after := ""; ; {
		page := s.List(diagnostics.Query{Task: "task7"}, after, 30)
		for _, a := range page {
			seen[a.ID], after = true, a.ID
		}
		if len(page) < 30 {
			break
		}
	}
	if len(seen) != n/100 {
		t.Errorf("%d artifacts of the task are listed in pages, want %d", len(seen), n/100)
	}
}
