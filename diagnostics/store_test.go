package diagnostics_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/diagnostics"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// clock is a wall clock that a test sets.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func open(t *testing.T, c diagnostics.Config) *diagnostics.Store {
	t.Helper()
	s, found, err := diagnostics.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if found.Faults != nil {
		t.Fatal(found.Faults)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func header(owner, task, run, name string) diagnostics.Header {
	return diagnostics.Header{Owner: owner, Task: task, Run: run, Name: name, Recorder: diagnostics.RecorderFile, Begin: began}
}

// seal makes one artifact.
func seal(t *testing.T, s *diagnostics.Store, h diagnostics.Header, content string, end diagnostics.End) diagnostics.Artifact {
	t.Helper()
	a, err := write(s, h, content, end)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func write(s *diagnostics.Store, h diagnostics.Header, content string, end diagnostics.End) (diagnostics.Artifact, error) {
	w, err := s.Create(h)
	if err != nil {
		return diagnostics.Artifact{}, err
	}
	if err := w.Append([]byte(content)); err != nil {
		return diagnostics.Artifact{}, err
	}
	return w.Seal(end)
}

func content(t *testing.T, s *diagnostics.Store, id string) string {
	t.Helper()
	f, a, err := s.Content(id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if got := diagnostics.Digest(sha256.Sum256(text)); got != a.SHA256 {
		t.Errorf("the digest of %s is %v, want %v", id, got, a.SHA256)
	}
	return string(text)
}

func ids(all []diagnostics.Artifact) []string {
	var list []string
	for _, a := range all {
		list = append(list, a.ID)
	}
	return list
}

func TestSealedSurvivesRestart(t *testing.T) {
	c := diagnostics.Config{Dir: filepath.Join(t.TempDir(), "artifacts")}
	s := open(t, c)
	w, err := s.Create(header("uid:1", "crawl", "run", "report"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"one ", "two ", "three"} {
		if err := w.Append([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if a, err := s.Get(w.ID()); err != nil || a.Sealed || a.Size != 13 {
		t.Errorf("while it is written: %+v, %v, want 13 bytes, not sealed", a, err)
	}
	if _, _, err := s.Content(w.ID()); !errors.Is(err, diagnostics.ErrNotSealed) {
		t.Errorf("Content while it is written: %v, want ErrNotSealed", err)
	}
	sealed, err := w.Seal(diagnostics.End{Time: began.Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Seal(diagnostics.End{}); err == nil {
		t.Error("a second Seal succeeds")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(header("uid:1", "crawl", "", "late")); !errors.Is(err, diagnostics.ErrClosed) {
		t.Errorf("Create after Close: %v, want ErrClosed", err)
	}
	again := open(t, c)
	got, err := again.Get(sealed.ID)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(sealed) {
		t.Errorf("after a restart: %+v, %v, want %+v", got, err, sealed)
	}
	if text := content(t, again, sealed.ID); text != "one two three" {
		t.Errorf("after a restart it holds %q", text)
	}
	info, err := os.Stat(filepath.Join(c.Dir, "data", sealed.ID))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("content has mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestTwoStoresShareNoDirectory(t *testing.T) {
	taken := false
	c := diagnostics.Config{Dir: t.TempDir(), Lock: func(*os.File) error {
		if taken {
			return errors.New("locked")
		}
		taken = true
		return nil
	}}
	open(t, c)
	if _, _, err := diagnostics.Open(c); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("the second Open: %v, want one that names another server", err)
	}
}

func TestTwoWritersOfOneName(t *testing.T) {
	s := open(t, diagnostics.Config{Dir: t.TempDir()})
	first, err := s.Create(header("uid:1", "crawl", "run", "trace"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Create(header("uid:1", "crawl", "run", "trace"))
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range []*diagnostics.Writer{first, second} {
		if err := w.Append(fmt.Appendf(nil, "writer %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := first.Seal(diagnostics.End{}); err != nil {
		t.Fatal(err)
	}
	last, err := second.Seal(diagnostics.End{})
	if err != nil {
		t.Fatal(err)
	}
	all := s.List(diagnostics.Query{Name: "trace"}, "", 10)
	if len(all) != 1 || all[0].ID != last.ID || content(t, s, last.ID) != "writer 1" {
		t.Errorf("of one run and name: %v, want only %s, whole", ids(all), last.ID)
	}
}

func TestReplace(t *testing.T) {
	s := open(t, diagnostics.Config{Dir: t.TempDir()})
	whole := seal(t, s, header("uid:1", "crawl", "run", "cpu"), "whole", diagnostics.End{})
	if _, err := write(s, header("uid:1", "crawl", "run", "cpu"), "cut", diagnostics.End{Truncated: "killed"}); !errors.Is(err, diagnostics.ErrReplaced) {
		t.Errorf("a cut one beside a whole one: %v, want ErrReplaced", err)
	}
	other := seal(t, s, header("uid:2", "crawl", "run", "cpu"), "another owner's", diagnostics.End{})
	if got := s.List(diagnostics.Query{}, "", 10); len(got) != 2 || content(t, s, whole.ID) != "whole" {
		t.Errorf("there are %v, want %s and %s", ids(got), whole.ID, other.ID)
	}
	if bytes, n := s.Used(); bytes != int64(len("whole")+len("another owner's")) || n != 2 {
		t.Errorf("%d bytes in %d artifacts are counted", bytes, n)
	}
}

func TestExpiry(t *testing.T) {
	now := &clock{began}
	c := diagnostics.Config{Dir: t.TempDir(), Now: now.read}
	s := open(t, c)
	good := seal(t, s, header("uid:1", "good", "1", "log"), "x", diagnostics.End{})
	failed := seal(t, s, header("uid:1", "failed", "2", "log"), "x", diagnostics.End{Failed: true})
	later := seal(t, s, header("uid:1", "later", "3", "log"), "x", diagnostics.End{})
	pinned := seal(t, s, header("uid:1", "pinned", "4", "log"), "x", diagnostics.End{})
	if err := s.Conclude("uid:1", "later", "3", true); err != nil {
		t.Fatal(err)
	}
	if err := s.Conclude("uid:2", "good", "1", true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pin(pinned.ID, true); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, c)
	for _, step := range []struct {
		after  time.Duration
		expire []string
	}{
		{24*time.Hour - 1, nil},
		{24 * time.Hour, []string{good.ID}},
		{72*time.Hour - 1, nil},
		{72 * time.Hour, []string{failed.ID, later.ID}},
		{1000 * time.Hour, nil},
	} {
		now.now = began.Add(step.after)
		dry := ids(s.Expiring(diagnostics.Query{}, now.now, 0))
		got, err := s.Expire()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(step.expire)
		if was := ids(got); !slices.Equal(slices.Sorted(slices.Values(was)), step.expire) || !slices.Equal(dry, was) {
			t.Errorf("after %v: %v expire, told before %v, want %v", step.after, was, dry, step.expire)
		}
	}
	if a, err := s.Pin(pinned.ID, false); err != nil || a.Pinned {
		t.Errorf("unpin: %+v, %v", a, err)
	}
	if got, err := s.Expire(); err != nil || len(got) != 1 {
		t.Errorf("after it was unpinned %v expire, %v, want it", ids(got), err)
	}
}

// What a recording left before a restart does not expire while it goes on, and then with the rest of it: as that of a
// task that ended as it did in the end.
func TestPartsExpireTogether(t *testing.T) {
	for name, tt := range map[string]struct {
		failed bool
		kept   time.Duration
	}{"well": {false, 24 * time.Hour}, "failed": {true, 72 * time.Hour}} {
		t.Run(name, func(t *testing.T) {
			now := &clock{began}
			s := open(t, diagnostics.Config{Dir: t.TempDir(), Now: now.read})
			first := seal(t, s, header("uid:1", "t", "run", "log"), "x", diagnostics.End{Truncated: "the server ended", Failed: !tt.failed})
			next := header("uid:1", "t", "run", "log")
			next.Part = s.NextPart(&next)
			w, err := s.Create(next)
			if err != nil {
				t.Fatal(err)
			}
			other := seal(t, s, header("uid:1", "t", "another run", "log"), "x", diagnostics.End{})
			now.now = began.Add(100 * time.Hour)
			if got, err := s.Expire(); err != nil || !slices.Equal(ids(got), []string{other.ID}) {
				t.Errorf("while it goes on %v expire, %v, want %v alone", ids(got), err, other.ID)
			}
			if _, err := w.Seal(diagnostics.End{Failed: tt.failed}); err != nil {
				t.Fatal(err)
			}
			if err := s.Conclude("uid:1", "t", "run", tt.failed); err != nil {
				t.Fatal(err)
			}
			due := now.now.Add(tt.kept)
			for _, a := range s.List(diagnostics.Query{}, "", 10) {
				if a.Failed != tt.failed || !a.Expire.Equal(due) {
					t.Errorf("part %d: failed %v, expires at %v, want %v, %v", a.Part, a.Failed, a.Expire, tt.failed, due)
				}
			}
			now.now = due
			if got, err := s.Expire(); err != nil || len(got) != 2 || !slices.Contains(ids(got), first.ID) {
				t.Errorf("then %v expire, %v, want both", ids(got), err)
			}
		})
	}
}

func TestQuota(t *testing.T) {
	now := &clock{began}
	s := open(t, diagnostics.Config{Dir: t.TempDir(), Now: now.read, MaxBytes: 100, MaxArtifactBytes: 60, MaxArtifacts: 5})
	make := func(owner, name string, size int) diagnostics.Artifact {
		now.now = now.now.Add(time.Second)
		return seal(t, s, header(owner, "t", name, name), strings.Repeat("x", size), diagnostics.End{})
	}
	greedy1 := make("uid:1", "a", 30)
	honest := make("uid:2", "b", 20)
	greedy2 := make("uid:1", "c", 30)
	if got := ids(s.Expiring(diagnostics.Query{}, now.now, 50)); !slices.Equal(got, []string{greedy1.ID}) {
		t.Errorf("for 50 bytes %v would go, want %v: of who has most, the first to expire", got, greedy1.ID)
	}
	greedy3 := make("uid:1", "d", 50)
	if got := ids(s.List(diagnostics.Query{}, "", 10)); len(got) != 3 || slices.Contains(got, greedy1.ID) {
		t.Errorf("after 50 more bytes there are %v, want %v", got, []string{honest.ID, greedy2.ID, greedy3.ID})
	}
	for _, id := range []string{honest.ID, greedy2.ID, greedy3.ID} {
		if _, err := s.Pin(id, true); err != nil {
			t.Fatal(err)
		}
	}
	w, err := s.Create(header("uid:1", "t", "e", "e"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append([]byte("x")); !errors.Is(err, diagnostics.ErrFull) {
		t.Errorf("Append beside pinned ones: %v, want ErrFull", err)
	}
	if a, err := w.Seal(diagnostics.End{}); err != nil || !strings.Contains(a.Truncated, "quota") {
		t.Errorf("sealed %+v, %v, want one that tells of the quota", a, err)
	}
	if _, err := s.Pin(greedy3.ID, false); err != nil {
		t.Fatal(err)
	}
	w, err = s.Create(header("uid:1", "t", "f", "f"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Append(bytes.Repeat([]byte("y"), 50)), w.Append(bytes.Repeat([]byte("z"), 11))); !errors.Is(err, diagnostics.ErrTooLarge) {
		t.Errorf("61 bytes: %v, want ErrTooLarge", err)
	}
	if a, err := w.Seal(diagnostics.End{}); err != nil || a.Size != 50 || !strings.Contains(a.Truncated, "limit") {
		t.Errorf("sealed %+v, %v, want its first 50 bytes", a, err)
	}
	for i := range 20 {
		make("uid:3", fmt.Sprint("many", i), 0)
	}
	if _, n := s.Used(); n > 5 {
		t.Errorf("%d artifacts, want at most 5", n)
	}
}

func TestRecordedTogether(t *testing.T) {
	s := open(t, diagnostics.Config{Dir: t.TempDir()})
	of := func(task, name string, from, to time.Duration) diagnostics.Artifact {
		h := header("uid:1", task, "run", name)
		h.Begin = began.Add(from)
		return seal(t, s, h, "x", diagnostics.End{Time: began.Add(to)})
	}
	of("t", "cpu", 0, 10*time.Second)
	of("t", "early", 0, time.Second)
	of("other", "heap", 0, 10*time.Second)
	open, err := s.Create(header("uid:1", "t", "run", "memory"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Discard()
	if a := of("t", "trace", 5*time.Second, 6*time.Second); !slices.Equal(a.With, []string{"cpu", "memory"}) {
		t.Errorf("recorded with %v, want cpu and memory", a.With)
	}
}

func TestHeaderFaults(t *testing.T) {
	s := open(t, diagnostics.Config{Dir: t.TempDir()})
	_, err := s.Create(diagnostics.Header{Owner: "a\nb", Name: "../x", Recorder: "ebpf", Run: strings.Repeat("r", 65)})
	for _, want := range []string{"Owner", "Task", "Run", "Name", "Recorder", "Begin"} {
		if err == nil || !strings.Contains(err.Error(), want+":") {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	if _, _, err := diagnostics.Open(diagnostics.Config{TTL: -1, MaxBytes: -1}); err == nil ||
		!strings.Contains(err.Error(), "Dir") || !strings.Contains(err.Error(), "TTL") || !strings.Contains(err.Error(), "MaxBytes") {
		t.Errorf("Open names not all faults: %v", err)
	}
}

// Whatever stands in the directory, Open opens, says what is damaged, and touches nothing outside.
func TestDamage(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	canary := filepath.Join(outside, "canary")
	if err := os.WriteFile(canary, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := diagnostics.Config{Dir: dir}
	s := open(t, c)
	keep := seal(t, s, header("uid:1", "t", "1", "keep"), "keep", diagnostics.End{})
	torn := seal(t, s, header("uid:1", "t", "2", "torn"), "torn", diagnostics.End{})
	gone := seal(t, s, header("uid:1", "t", "3", "gone"), "gone", diagnostics.End{})
	link := seal(t, s, header("uid:1", "t", "4", "link"), "link", diagnostics.End{})
	short := seal(t, s, header("uid:1", "t", "5", "short"), "short", diagnostics.End{})
	s.Close()
	at := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	for _, err := range []error{
		os.WriteFile(at("manifests", torn.ID+".json"), []byte(`{"id":`), 0o600),
		os.WriteFile(at("manifests", "../manifests/x.json"), []byte("{}"), 0o600),
		os.Remove(at("index")), // which would know better than the torn manifest
		os.Remove(at("data", gone.ID)),
		os.Remove(at("data", link.ID)),
		os.Symlink(canary, at("data", link.ID)),
		os.WriteFile(at("data", short.ID), []byte("sh"), 0o600),
		os.WriteFile(at("data", "AAAAAAAAAAAAAAAAAAAAAAAAAA"), []byte("nobody's"), 0o600),
		os.WriteFile(at("open", "junk"), []byte("junk"), 0o600),
		os.WriteFile(at("open", "BBBBBBBBBBBBBBBBBBBBBBBBBB.journal"), []byte("B\xff\xff"), 0o600),
		os.WriteFile(at("manifests", torn.ID+".json.new"), []byte("half"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s, found, err := diagnostics.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := []string{torn.ID, gone.ID}
	slices.Sort(want)
	if !slices.Equal(found.Damaged, want) || found.Artifacts != 3 {
		t.Errorf("found %+v, want %v damaged and 3 artifacts", found, want)
	}
	if got := content(t, s, keep.ID); got != "keep" {
		t.Errorf("the sound one holds %q", got)
	}
	if f, _, err := s.Content(link.ID); err == nil {
		f.Close()
		t.Error("a planted link is followed")
	}
	if _, _, err := s.Content(short.ID); !errors.Is(err, diagnostics.ErrDamaged) {
		t.Errorf("content that was cut: %v, want ErrDamaged", err)
	}
	if _, err := os.Stat(at("data", "AAAAAAAAAAAAAAAAAAAAAAAAAA")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("content without a manifest stays: %v", err)
	}
	if text, err := os.ReadFile(canary); err != nil || string(text) != "secret" {
		t.Errorf("the file outside holds %q, %v", text, err)
	}
	if err := s.Delete(link.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(canary); err != nil {
		t.Errorf("deleting a planted link deletes what it names: %v", err)
	}
}

func FuzzIDs(f *testing.F) {
	for _, id := range []string{"", "..", "../manifests/x", "AAAAAAAAAAAAAAAAAAAAAAAAA/", "AAAAAAAAAAAAAAAAAAAAAAAAA\x00", "aaaaaaaaaaaaaaaaaaaaaaaaaa",
		strings.Repeat("A", 4096), "/etc/passwd", "ＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡＡ"} {
		f.Add(id)
	}
	dir := f.TempDir()
	s, _, err := diagnostics.Open(diagnostics.Config{Dir: dir})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, id string) {
		if _, _, err := s.Content(id); !errors.Is(err, diagnostics.ErrNotFound) {
			t.Errorf("Content(%q): %v, want ErrNotFound", id, err)
		}
		if err := s.Delete(id); !errors.Is(err, diagnostics.ErrNotFound) {
			t.Errorf("Delete(%q): %v, want ErrNotFound", id, err)
		}
		if diagnostics.ValidID(id) && (len(id) != 26 || strings.ContainsAny(id, "./\\\x00")) {
			t.Errorf("%q passes for an ID", id)
		}
	})
}
