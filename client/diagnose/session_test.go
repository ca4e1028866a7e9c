package diagnose_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/client/diagnose"
	"github.com/headroom-rpc/headroom/diagnostics"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func begin(t *testing.T, c *client.Client, recorders ...string) *diagnose.Session {
	t.Helper()
	s, err := diagnose.Start(t.Context(), c, diagnose.Config{Task: "t", Recorders: recorders, TriggerLevel: -1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func end(t *testing.T, s *diagnose.Session, task error) {
	t.Helper()
	if _, err := s.Finish(context.Background(), task); err != nil {
		t.Errorf("Finish: %v", err)
	}
}

// burn uses CPU time, some 0.1 s, that the profile must have seen. It counts work and not time, of which a busy machine
// gives it little.
//
//go:noinline
func burn() (n int) {
	for i := range 200_000_000 {
		n += i ^ n>>3
	}
	return n
}

var sunk atomic.Int64

//go:noinline
func burnFirst() { sunk.Store(int64(burn())) }

//go:noinline
func burnSecond() { sunk.Store(int64(burn())) }

// functions returns the names of the functions that a profile has samples of.
func functions(t *testing.T, text []byte) map[string]bool {
	t.Helper()
	p, err := profile.ParseData(text)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, s := range p.Sample {
		for _, l := range s.Location {
			for _, line := range l.Line {
				names[line.Function.Name[strings.LastIndex(line.Function.Name, ".")+1:]] = true
			}
		}
	}
	return names
}

// Two tasks share the profiler, join and leave at different times, and each has its own samples only.
func TestTasksShareTheCPUProfiler(t *testing.T) {
	f := &fake{}
	c := serve(t, f)
	first := begin(t, c, diagnostics.RecorderCPU)
	second := begin(t, c, diagnostics.RecorderCPU)
	first.Do(t.Context(), func(context.Context) { burnFirst() })
	second.Do(t.Context(), func(context.Context) { burnSecond() })
	end(t, first, nil)
	end(t, second, nil)
	for run, want := range map[string]struct{ has, lacks string }{
		first.Run(): {"burnFirst", "burnSecond"}, second.Run(): {"burnSecond", "burnFirst"},
	} {
		text, _ := f.content(run + "/cpu_profile")
		if names := functions(t, text); !names[want.has] || names[want.lacks] {
			t.Errorf("the profile of run %s has %v, want %s and not %s", run, names, want.has, want.lacks)
		}
	}
	// Nobody profiles any more.
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		t.Error(err)
	}
	pprof.StopCPUProfile()
}

// What was profiled is uploaded when a window ends, and not only at the end: here it ends as another task joins.
func TestProfilesAreUploadedAsTheyAreMade(t *testing.T) {
	f := &fake{}
	c := serve(t, f)
	s := begin(t, c, diagnostics.RecorderCPU)
	burnFirst()
	other := begin(t, c, diagnostics.RecorderCPU)
	f.await(func(whole, _ map[string][]byte) bool { return whole[s.Run()+"/cpu_profile"] != nil })
	if text, _ := f.content(s.Run() + "/cpu_profile"); !functions(t, text)["burnFirst"] {
		t.Error("the first window lacks what ran in it; without Do it holds the whole program")
	}
	burnSecond()
	end(t, other, nil)
	end(t, s, nil)
	text, n := f.content(s.Run() + "/cpu_profile")
	if names := functions(t, text); n < 2 || !names["burnFirst"] || !names["burnSecond"] {
		t.Errorf("after %d uploads the profile has %v, want both windows", n, names)
	}
}

func TestAnotherProfilerIsTold(t *testing.T) {
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		t.Fatal(err)
	}
	defer pprof.StopCPUProfile()
	s := begin(t, serve(t, &fake{}), diagnostics.RecorderCPU)
	if _, err := s.Finish(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "something else in this program profiles") {
		t.Errorf("Finish = %v, want an error that tells of the other profiler", err)
	}
}

var kept []byte

func TestHeapTraceGoroutinesAndLogs(t *testing.T) {
	f := &fake{refuse: map[string]headroomv1.RefusedReason{"memray": headroomv1.RefusedReason_REFUSED_REASON_NOT_ALLOWED}}
	c := serve(t, f)
	s := begin(t, c, "allocation_profile", "trace", "goroutines", "logs", "memray")
	if r := s.Refused(); len(r) != 1 || r[0] != (diagnostics.Refusal{Name: "memray", Reason: diagnostics.NotAllowed}) {
		t.Errorf("refused are %v", r)
	}
	var beside bytes.Buffer
	log := slog.New(s.Handler(slog.NewTextHandler(&beside, &slog.HandlerOptions{Level: slog.LevelError})))
	log.Info("the first line", "n", 1)
	log.Debug("too fine")
	// A log is on its way as it is written: a program that is killed here leaves it.
	f.await(func(_, partial map[string][]byte) bool {
		return bytes.Contains(partial[s.Run()+"/logs"], []byte("the first line"))
	})
	log.Error("the last line")
	kept = make([]byte, 8<<20)
	end(t, s, errors.New("the task failed"))
	log.Info("after the end")
	for key, want := range map[string]string{"/logs": "the last line", "/goroutines": "goroutine ", "/trace": "go 1."} {
		text, _ := f.content(s.Run() + key)
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s holds %.80q, want %q in it", key, text, want)
		}
	}
	if text, _ := f.content(s.Run() + "/logs"); bytes.Contains(text, []byte("too fine")) || bytes.Contains(text, []byte("after")) {
		t.Errorf("the log is\n%s", text)
	}
	if strings.Contains(beside.String(), "first") || !strings.Contains(beside.String(), "last") {
		t.Errorf("the handler beside it has\n%s", beside.String())
	}
	heap, n := f.content(s.Run() + "/allocation_profile")
	if functions(t, heap); n < 1 {
		t.Error("no heap profile is uploaded")
	}
	if failed, ok := f.finished[s.Run()]; !ok || !failed {
		t.Errorf("the server was told that the task ended %v, failed %v", ok, failed)
	}
	if again, err := s.Finish(t.Context(), nil); again != nil || err != nil {
		t.Errorf("a second Finish returns %v, %v", again, err)
	}
	// The one flight recorder of the program is free again.
	next := begin(t, c, "trace")
	end(t, next, nil)
}

// A session goes on after the server was restarted, as the same run: its recording, its log in a further part, and its
// profiles. Nothing is told to be missing that a later upload brought, and no line is lost or doubled, were it on its
// way or not yet written when the connection broke.
func TestServerIsRestarted(t *testing.T) {
	f := &fake{}
	c := serve(t, f)
	s := begin(t, c, "cpu_profile", "allocation_profile", "logs")
	log := slog.New(s.Handler(slog.DiscardHandler))
	log.Info("first")
	f.await(func(_, partial map[string][]byte) bool {
		return bytes.Contains(partial[s.Run()+"/logs"], []byte("first"))
	})
	f.mu.Lock()
	f.deaf = true
	f.mu.Unlock()
	const unread = 500
	for i := range unread {
		log.Info("unread", "n", i)
	}
	f.restart()
	log.Info("last")
	f.await(func(_, partial map[string][]byte) bool {
		return f.resumed > 0 && bytes.Contains(partial[s.Run()+"/logs/continues"], []byte("last"))
	})
	end(t, s, nil)
	if failed, ok := f.finished[s.Run()]; !ok || failed {
		t.Errorf("the server was told that the run ended %v, failed %v; want that it ended well", ok, failed)
	}
	for _, key := range []string{"/cpu_profile", "/allocation_profile", "/logs/continues"} {
		if text, _ := f.content(s.Run() + key); len(text) == 0 {
			t.Errorf("there is no %s whole", key)
		}
	}
	text, parts := f.log(s.Run())
	var got []string
	for line := range strings.Lines(text) {
		_, words, _ := strings.Cut(line, "msg=")
		got = append(got, strings.TrimSpace(words))
	}
	want := []string{"first"}
	for i := range unread {
		want = append(want, fmt.Sprintf("unread n=%d", i))
	}
	if want = append(want, "last"); !slices.Equal(got, want) {
		t.Errorf("the %d parts of the log have %d lines, want %d: %.200s", parts, len(got), len(want), strings.Join(got, ", "))
	}
}

// Where there is no server any more a session ends all the same, and tells what is missing.
func TestServerIsGone(t *testing.T) {
	f := &fake{}
	s := begin(t, serve(t, f), "allocation_profile", "logs")
	f.server.Stop()
	if _, err := s.Finish(t.Context(), nil); err == nil {
		t.Errorf("Finish = %v, want an error", err)
	}
}

func TestTriggerOncePerPause(t *testing.T) {
	f := &fake{}
	c := serve(t, f)
	s := begin(t, c, "goroutines")
	for range 3 {
		s.Trigger(t.Context())
	}
	if _, n := f.content(s.Run() + "/goroutines"); n != 1 {
		t.Errorf("%d dumps of one episode, want 1", n)
	}
	end(t, s, nil)
}

func TestUploadOfAFile(t *testing.T) {
	f := &fake{}
	s := begin(t, serve(t, f), "file")
	text := strings.Repeat("0123456789", 30_000)
	if a, err := s.Upload(t.Context(), "report.txt", strings.NewReader(text)); err != nil || a.Size != int64(len(text)) {
		t.Errorf("Upload = %+v, %v", a, err)
	}
	if got, _ := f.content(s.Run() + "/file/report.txt"); string(got) != text {
		t.Errorf("%d bytes came, want %d", len(got), len(text))
	}
	end(t, s, nil)
}

func TestNilSession(t *testing.T) {
	t.Setenv(diagnose.EnvRecorders, "")
	s, err := diagnose.FromEnv(t.Context(), nil)
	if s != nil || err != nil {
		t.Fatalf("FromEnv = %v, %v, want nil", s, err)
	}
	ran := false
	s.Do(t.Context(), func(context.Context) { ran = true })
	s.Trigger(t.Context())
	if s.Handler(slog.DiscardHandler) != slog.DiscardHandler || !ran || s.Run() != "" || s.Recorders() != nil || s.Refused() != nil {
		t.Error("the nil session does something")
	}
	if a, err := s.Finish(t.Context(), nil); a != nil || err != nil {
		t.Errorf("Finish = %v, %v", a, err)
	}
}

func TestConfigFaults(t *testing.T) {
	_, err := diagnose.Start(t.Context(), nil, diagnose.Config{
		CPUWindow: time.Millisecond, CPUPause: -1, HeapInterval: time.Millisecond, HeapPause: -1, HeapGrowth: -1, TraceAge: 1, TriggerPause: 1,
	})
	for _, want := range []string{"Task", "CPUWindow", "CPUPause", "HeapInterval", "HeapPause", "HeapGrowth", "TraceAge", "TriggerPause"} {
		if err == nil || !strings.Contains(err.Error(), want+":") {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}
