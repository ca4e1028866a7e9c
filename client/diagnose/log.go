package diagnose

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/diagnostics"
)

const (
	// maxPending bounds what waits to be sent of a log, in lines; more are left out and counted.
	maxPending = 1024

	// logPause is the time between two attempts to go on with a log.
	logPause = time.Second
)

// logUpload sends lines to the server as they are written, and never keeps their writer waiting.
type logUpload struct {
	session *Session
	lines   chan []byte
	ending  chan struct{} // closed with lines
	done    chan error

	// Of the goroutine that sends.
	tail    logTail
	part    int   // the number of the newest part that the server was seen to have; -1 for none
	begin   int64 // where in the log the part after that begins
	drained bool  // there are no more lines

	mu     sync.Mutex
	closed bool
	lost   int
}

func newLogUpload(s *Session) *logUpload {
	l := &logUpload{session: s, lines: make(chan []byte, maxPending), ending: make(chan struct{}), done: make(chan error, 1), part: -1}
	go func() { l.done <- l.run() }()
	return l
}

// run sends the lines until there are no more. When the connection is lost, or the server is restarted, it goes on with
// another part as soon as there is a server again, from what that has of the log.
func (l *logUpload) run() error {
	s := l.session
	// Not of the session's context: the lines that wait at the end are to be sent.
	ctx := context.WithoutCancel(s.ctx)
	config := client.UploadConfig{
		Task: s.config.Task, Run: s.recording.Run, Recorder: diagnostics.RecorderLogs, Begin: s.begin,
	}
	for last := false; ; {
		err := l.send(ctx, config, last)
		if err == nil || last || !passes(err) {
			for range l.lines { // nobody is to wait
			}
			return err
		}
		select {
		case <-time.After(logPause):
		case <-l.ending: // once more, and then no more
			last = true
		}
		config.Continues, config.Begin = true, time.Now()
	}
}

// send sends lines as one artifact, until there are no more or the server takes no more.
func (l *logUpload) send(ctx context.Context, config client.UploadConfig, last bool) error {
	if config.Continues {
		if err := l.resume(ctx, last); err != nil {
			return err
		}
		if l.drained && l.begin == l.tail.end {
			return nil
		}
	}
	u, err := l.session.c.Upload(ctx, config)
	if err != nil {
		return err
	}
	err = l.tail.from(l.begin, func(text []byte) error {
		_, err := u.Write(text)
		return err
	})
	for err == nil && !l.drained {
		select {
		case line, ok := <-l.lines:
			if l.drained = !ok; ok {
				l.tail.add(line)
				_, err = u.Write(line)
			}
		case <-u.Done():
			err = io.EOF
		}
	}
	_, err = u.Seal() // it tells too why nothing more was taken
	return err
}

// passes reports whether what the error says may pass: there is no server, or the slot of the upload that broke off is
// still in use.
func passes(err error) bool {
	return status.Code(err) == codes.Unavailable || client.Reason(err) == "RECORDINGS"
}

// errWriting reports that the server has yet to notice that an upload broke off. It is one that passes.
var errWriting = status.Error(codes.Unavailable, "diagnose: log: the part before is not sealed yet")

// resume asks the server what it has of the log, so that the next part goes on from there. Where it cannot tell for
// good it does so at the last attempt only.
func (l *logUpload) resume(ctx context.Context, last bool) error {
	recorder, _ := diagnostics.Lookup(diagnostics.RecorderLogs)
	all, err := l.session.c.Artifacts(ctx, client.ArtifactQuery{
		Task: l.session.config.Task, Run: l.session.recording.Run, Name: recorder.Artifact,
	})
	if err != nil {
		return err
	}
	part, size := l.part, int64(0)
	for _, a := range all.List {
		if !a.Sealed && !last {
			return errWriting
		}
		if a.Part > part {
			part, size = a.Part, a.Size
		}
	}
	l.part = part
	l.begin = min(max(l.begin+size, l.tail.begin), l.tail.end)
	return nil
}

// Write takes one line. It never blocks and never fails.
func (l *logUpload) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(line), nil
	}
	select {
	case l.lines <- append([]byte(nil), line...):
	default:
		l.lost++
	}
	return len(line), nil
}

// close ends the log once all lines that wait are sent.
func (l *logUpload) close() error {
	l.mu.Lock()
	lost := l.lost
	if !l.closed {
		l.closed = true
		close(l.lines)
		close(l.ending)
	}
	l.mu.Unlock()
	err := <-l.done
	if lost > 0 {
		err = errors.Join(err, &lostError{lost})
	}
	return err
}

// lostError reports lines that are not in the log.
type lostError struct{ lines int }

func (e *lostError) Error() string {
	return "diagnose: log: " + plural(e.lines) + " left out because the server was behind"
}

// Handler returns a handler that writes what it handles to the log of the task as well as to next, which keeps its own
// level. Where logs are not recorded it returns next.
func (s *Session) Handler(next slog.Handler) slog.Handler {
	if s == nil || s.log == nil {
		return next
	}
	own := slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: s.config.LogLevel})
	return slog.NewMultiHandler(next, own)
}

func plural(n int) string {
	if n == 1 {
		return "1 line was"
	}
	return strconv.Itoa(n) + " lines were"
}
