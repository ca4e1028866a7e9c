package jobs

import (
	"bytes"
	"io"
	"sync"
)

// maxLine bounds what a LineWriter holds back of a line.
const maxLine = 1 << 20

// A LineWriter passes whole lines on, so that several can share an output without mixing theirs. A line over 1 MiB is
// cut. It is not safe for concurrent use; those that share an output share its lock.
type LineWriter struct {
	To   io.Writer
	Lock *sync.Mutex

	// Prefix stands before each line.
	Prefix string

	held []byte // the begin of a line, with its prefix
}

// Write passes on the lines that end in p and holds back the rest.
func (w *LineWriter) Write(p []byte) (int, error) {
	size := len(p)
	if at := bytes.LastIndexByte(p, '\n'); at >= 0 {
		if err := w.pass(p[:at+1]); err != nil {
			return 0, err
		}
		p = p[at+1:]
	}
	if len(w.held)+len(p) > maxLine {
		return size, w.pass(append(bytes.Clone(p), '\n'))
	}
	if len(w.held) == 0 && len(p) > 0 {
		w.held = append(w.held, w.Prefix...)
	}
	w.held = append(w.held, p...)
	return size, nil
}

// pass writes what is held and whole lines.
func (w *LineWriter) pass(lines []byte) error {
	out := w.held
	for line := range bytes.Lines(lines) {
		if len(out) == 0 || out[len(out)-1] == '\n' {
			out = append(out, w.Prefix...)
		}
		out = append(out, line...)
	}
	w.held = out[:0]
	w.Lock.Lock()
	defer w.Lock.Unlock()
	_, err := w.To.Write(out)
	return err
}

// Close passes on what is held, with the end of the line that it lacks.
func (w *LineWriter) Close() error {
	if len(w.held) == 0 {
		return nil
	}
	return w.pass([]byte{'\n'})
}
