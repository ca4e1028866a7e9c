package diagnose

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/diagnostics"
)

// The defaults of [Config].
const (
	DefaultCPUWindow    = 10 * time.Second
	DefaultHeapInterval = time.Second
	DefaultHeapGrowth   = 0.1
	DefaultHeapPause    = 10 * time.Second
	DefaultTraceAge     = 10 * time.Second
	DefaultTraceBytes   = 10 << 20
	DefaultTriggerLevel = 1
	DefaultTriggerPause = time.Minute
)

// label is the key under which samples of a task are labelled.
const label = "headroom_run"

// Config says what is recorded of a task. Only Task is required.
type Config struct {
	// Task names the task.
	Task string

	// Recorders are what is asked for; see [diagnostics.Recorders]. The server may refuse some and add others.
	Recorders []string

	// CPUWindow is how much of a CPU profile is taken at a time and uploaded, from 1 s to 1 min; CPUPause is how long
	// the profiler rests after each, up to 1 h, for less cost. The defaults are 10 s and none.
	CPUWindow, CPUPause time.Duration

	// HeapInterval is how often the size of the heap is looked at, from 100 ms to 1 min. A profile is taken when it is
	// greater by the share HeapGrowth than at the last profile, at most once per HeapPause. The defaults are 1 s, 0.1
	// and 10 s.
	HeapInterval, HeapPause time.Duration
	HeapGrowth              float64

	// TraceAge and TraceBytes bound what the flight recorder keeps, as a hint. The defaults are 10 s and 10 MiB. Of
	// several tasks of one program those of the first hold.
	TraceAge   time.Duration
	TraceBytes uint64

	// TriggerLevel is the severity level of the machine on whose entry the trace and the goroutines are dumped, at
	// most once per TriggerPause. The defaults are 1 and 1 min; a negative level switches that off.
	TriggerLevel int
	TriggerPause time.Duration

	// LogLevel is the least level that goes into the log of the task. The default is info.
	LogLevel slog.Leveler
}

func (c *Config) setDefaults() error {
	c.CPUWindow = cmp.Or(c.CPUWindow, DefaultCPUWindow)
	c.HeapInterval = cmp.Or(c.HeapInterval, DefaultHeapInterval)
	c.HeapPause = cmp.Or(c.HeapPause, DefaultHeapPause)
	c.HeapGrowth = cmp.Or(c.HeapGrowth, DefaultHeapGrowth)
	c.TraceAge = cmp.Or(c.TraceAge, DefaultTraceAge)
	c.TraceBytes = cmp.Or(c.TraceBytes, DefaultTraceBytes)
	c.TriggerLevel = cmp.Or(c.TriggerLevel, DefaultTriggerLevel)
	c.TriggerPause = cmp.Or(c.TriggerPause, DefaultTriggerPause)
	if c.LogLevel == nil {
		c.LogLevel = slog.LevelInfo
	}
	var errs []error
	duration := func(field string, d, least, most time.Duration) {
		if d < least || d > most {
			errs = append(errs, fmt.Errorf("%s: %v is not from %v to %v", field, d, least, most))
		}
	}
	if !diagnostics.ValidText(c.Task, diagnostics.MaxTask) {
		errs = append(errs, fmt.Errorf("Task: %.64q is not 1 to %d bytes of printable text", c.Task, diagnostics.MaxTask))
	}
	duration("CPUWindow", c.CPUWindow, time.Second, time.Minute)
	duration("CPUPause", c.CPUPause, 0, time.Hour)
	duration("HeapInterval", c.HeapInterval, 100*time.Millisecond, time.Minute)
	duration("HeapPause", c.HeapPause, 0, 24*time.Hour)
	duration("TraceAge", c.TraceAge, time.Second, 10*time.Minute)
	duration("TriggerPause", c.TriggerPause, time.Second, 24*time.Hour)
	if c.HeapGrowth < 0 {
		errs = append(errs, fmt.Errorf("HeapGrowth: %v is negative", c.HeapGrowth))
	}
	return errors.Join(errs...)
}

// A Session is one task that is recorded. It goes on when the server was restarted. Its methods are safe for concurrent
// use. The nil Session records nothing.
type Session struct {
	c         *client.Client
	config    Config
	recording *client.Recording
	begin     time.Time

	ctx    context.Context // of what the session uploads on its own
	cancel context.CancelFunc
	work   sync.WaitGroup

	cpu      *cpuShare // nil where it is not recorded
	heap     *heapWatch
	flight   *flightShare
	log      *logUpload
	labelled atomic.Bool // Do was called

	triggerMu sync.Mutex
	triggered time.Time

	mu       sync.Mutex
	finished bool
	faults   []error
	attempts map[string]error // how the last upload of a recorder ended, whose next one would replace it
}

// Start begins to record the task: what of it the server allows. ctx governs the session. It blocks until the server
// answered. It reports every fault of config at once.
func Start(ctx context.Context, c *client.Client, config Config) (*Session, error) {
	if err := config.setDefaults(); err != nil {
		return nil, fmt.Errorf("diagnose: %w", err)
	}
	record := client.RecordConfig{Task: config.Task, Recorders: config.Recorders}
	if strings.HasPrefix(c.Server().Address, "unix:") {
		record.PID = os.Getpid()
	}
	recording, err := c.Record(ctx, record)
	if reason := client.Reason(err); reason == "PROCESS_NOT_FOUND" || reason == "ROLE_REQUIRED" && record.PID != 0 {
		record.PID = 0 // the server is in another pid namespace, or runs for another user
		recording, err = c.Record(ctx, record)
	}
	if err != nil {
		return nil, err
	}
	s := &Session{c: c, config: config, recording: recording, begin: time.Now()}
	s.ctx, s.cancel = context.WithCancel(ctx)
	if s.records(diagnostics.RecorderLogs) {
		s.log = newLogUpload(s)
	}
	if s.records(diagnostics.RecorderCPU) {
		s.cpu = cpuProfiler.join(s)
	}
	if s.records(diagnostics.RecorderAllocation) {
		s.heap = &heapWatch{session: s}
		s.work.Go(s.heap.run)
	}
	if s.records(diagnostics.RecorderTrace) {
		s.flight, err = flights.join(config.TraceAge, config.TraceBytes)
		s.fault(err)
	}
	if config.TriggerLevel > 0 && (s.flight != nil || s.records(diagnostics.RecorderGoroutines)) {
		s.work.Go(s.watchSeverity)
	}
	return s, nil
}

// The variables by which a program is told what to record; `headroom diagnose` sets them.
const (
	EnvTask      = "HEADROOM_DIAGNOSE_TASK"
	EnvRecorders = "HEADROOM_DIAGNOSE"
)

// FromEnv is Start for a program that `headroom diagnose` may have begun: it records what that asks for, or returns a
// nil Session, whose methods do nothing, where nobody does.
func FromEnv(ctx context.Context, c *client.Client) (*Session, error) {
	names, task := os.Getenv(EnvRecorders), os.Getenv(EnvTask)
	if names == "" || task == "" {
		return nil, nil
	}
	return Start(ctx, c, Config{Task: task, Recorders: strings.Split(names, ",")})
}

func (s *Session) records(name string) bool { return s.recording.Records(name) }

// Run identifies the recording; empty for the nil Session.
func (s *Session) Run() string {
	if s == nil {
		return ""
	}
	return s.recording.Run
}

// Recorders returns what is recorded.
func (s *Session) Recorders() []diagnostics.Recorder {
	if s == nil {
		return nil
	}
	return s.recording.Recorders
}

// Refused returns what was asked for in vain, and why.
func (s *Session) Refused() []diagnostics.Refusal {
	if s == nil {
		return nil
	}
	return s.recording.Refused
}

// Do calls f with the goroutine labelled as the task's, and with it those that f starts. From the first call on, the
// CPU profile holds the samples of labelled goroutines only; without any, those of the whole program.
func (s *Session) Do(ctx context.Context, f func(context.Context)) {
	if s == nil {
		f(ctx)
		return
	}
	s.labelled.Store(true)
	pprof.Do(ctx, pprof.Labels(label, s.recording.Run), f)
}

// fault notes an error for Finish to return.
func (s *Session) fault(err error) {
	if err == nil {
		return
	}
	const most = 16
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) < most {
		s.faults = append(s.faults, err)
	}
}

// attempt notes how an upload ended that the next one replaces: only of the last one Finish returns the error.
func (s *Session) attempt(recorder string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attempts == nil {
		s.attempts = make(map[string]error)
	}
	s.attempts[recorder] = err
}

// upload stores the content as an artifact of the session.
func (s *Session) upload(ctx context.Context, recorder string, begin time.Time, content []byte) (diagnostics.Artifact, error) {
	u, err := s.c.Upload(ctx, client.UploadConfig{Task: s.config.Task, Run: s.recording.Run, Recorder: recorder, Begin: begin})
	if err != nil {
		return diagnostics.Artifact{}, err
	}
	_, _ = u.Write(content) // Seal tells why it fails
	return u.Seal()
}

// Upload stores what r holds as an artifact of the given name, where the server allows [diagnostics.RecorderFile]. It
// blocks until the artifact is sealed. Of two of one name the later one stays.
func (s *Session) Upload(ctx context.Context, name string, r io.Reader) (diagnostics.Artifact, error) {
	if s == nil {
		return diagnostics.Artifact{}, errors.New("diagnose: nothing is recorded")
	}
	u, err := s.c.Upload(ctx, client.UploadConfig{Task: s.config.Task, Run: s.recording.Run, Name: name})
	if err != nil {
		return diagnostics.Artifact{}, err
	}
	if _, err := io.Copy(u, r); err != nil {
		if _, sealed := u.Seal(); sealed != nil {
			err = sealed // why the server takes no more
		}
		return diagnostics.Artifact{}, err
	}
	return u.Seal()
}

// Trigger dumps the trace and the goroutines, where they are recorded: something is wrong now. It blocks until they
// are uploaded, and does nothing within TriggerPause of the last one.
func (s *Session) Trigger(ctx context.Context) {
	if s == nil {
		return
	}
	s.triggerMu.Lock()
	defer s.triggerMu.Unlock()
	if !s.triggered.IsZero() && time.Since(s.triggered) < s.config.TriggerPause {
		return
	}
	s.triggered = time.Now()
	s.dump(ctx)
}

func (s *Session) dump(ctx context.Context) {
	now := time.Now()
	if s.flight != nil {
		var trace bytes.Buffer
		err := s.flight.dump(&trace)
		if err == nil {
			_, err = s.upload(ctx, diagnostics.RecorderTrace, now.Add(-s.config.TraceAge), trace.Bytes())
		}
		s.fault(err)
	}
	if s.records(diagnostics.RecorderGoroutines) {
		var stacks bytes.Buffer
		err := pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		if err == nil {
			_, err = s.upload(ctx, diagnostics.RecorderGoroutines, now, stacks.Bytes())
		}
		s.fault(err)
	}
}

// watchSeverity triggers when the machine enters the level.
func (s *Session) watchSeverity() {
	for u, err := range s.c.WatchSeverity(s.ctx, client.SeverityOptions{}) {
		if err != nil {
			return // the session is over, or the server takes no such call
		}
		if t := u.Transition; t != nil && t.Up() && t.To == s.config.TriggerLevel {
			s.Trigger(s.ctx)
		}
	}
}

// Finish ends the session: what there is yet is uploaded, and with an error of the task the trace and the goroutines
// are dumped. It blocks until the server has sealed all artifacts, which it returns, or ctx is done. The error tells
// what could not be recorded; a second call returns nothing.
func (s *Session) Finish(ctx context.Context, task error) ([]diagnostics.Artifact, error) {
	if s == nil {
		return nil, nil
	}
	s.mu.Lock()
	again := s.finished
	s.finished = true
	s.mu.Unlock()
	if again {
		return nil, nil
	}
	s.triggerMu.Lock()
	if task != nil || s.triggered.IsZero() {
		s.dump(ctx) // what is recorded leaves an artifact, also where nothing went wrong
	}
	s.triggerMu.Unlock()
	if s.cpu != nil {
		s.attempt(diagnostics.RecorderCPU, s.cpu.leave(ctx))
	}
	if s.heap != nil {
		s.heap.last(ctx)
	}
	if s.flight != nil {
		s.flight.leave()
	}
	if s.log != nil {
		s.fault(s.log.close())
	}
	s.cancel()
	s.work.Wait()
	artifacts, err := s.recording.Finish(ctx, task != nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.faults
	for _, recorder := range slices.Sorted(maps.Keys(s.attempts)) {
		all = append(all, s.attempts[recorder])
	}
	return artifacts, errors.Join(append(all, err)...)
}
