package diagnose

import (
	"context"
	"errors"
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

	mu     sync.Mutex
	closed bool
	lost   int
}

func newLogUpload(s *Session) *logUpload {
	l := &logUpload{session: s, lines: make(chan []byte, maxPending), ending: make(chan struct{}), done: make(chan error, 1)}
	go func() { l.done <- l.run() }()
	return l
}

// run sends the lines until there are no more. When the connection is lost, or the server is restarted, it goes on with
// another part as soon as there is a server again; what was on its way then is lost, as the part before says.
func (l *logUpload) run() error {
	s := l.session
	// Not of the session's context: the lines that wait at the end are to be sent.
	ctx := context.WithoutCancel(s.ctx)
	config := client.UploadConfig{
		Task: s.config.Task, Run: s.recording.Run, Recorder: diagnostics.RecorderLogs, Begin: s.begin,
	}
	var left []byte // a line that could not be sent
	for {
		more, err := l.part(ctx, config, &left)
		if err == nil || !more || status.Code(err) != codes.Unavailable {
			for range l.lines { // nobody is to wait
			}
			return err
		}
		select {
		case <-time.After(logPause):
		case <-l.ending: // once more, and then no more
		}
		config.Continues, config.Begin = true, time.Now()
	}
}

// part sends lines as one artifact. With more it reports that the log was not at its end when that began.
func (l *logUpload) part(ctx context.Context, config client.UploadConfig, left *[]byte) (more bool, err error) {
	select {
	case <-l.ending:
	default:
		more = true
	}
	u, err := l.session.c.Upload(ctx, config)
	if err != nil {
		return more, err
	}
	if *left != nil {
		if _, err = u.Write(*left); err == nil {
			*left = nil
		}
	}
	for err == nil {
		line, ok := <-l.lines
		if !ok {
			break
		}
		if _, err = u.Write(line); err != nil {
			*left = line
		}
	}
	_, err = u.Seal() // it tells too why a Write failed
	return more, err
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
