package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

// A jobLog is the file of --joblog. A nil one takes nothing. It is safe for concurrent use.
type jobLog struct {
	mu   sync.Mutex
	file *os.File
	line []byte
}

// openJobLog begins the log, or goes on with one and leaves out what it tells of. An error is an exitError.
func (m *many) openJobLog() error {
	f := m.flags
	if f.joblog == "" {
		return nil
	}
	resume := f.resume || f.resumeFailed
	flags := os.O_RDWR | os.O_CREATE
	if !resume {
		flags |= os.O_TRUNC
	}
	file, err := os.OpenFile(f.joblog, flags, 0o666)
	if err != nil {
		return &exitError{exitRun, err}
	}
	size := int64(0)
	if resume {
		if size, err = m.leaveOut(file); err == nil {
			err = file.Truncate(size) // a line that was cut off
		}
		if err == nil {
			_, err = file.Seek(0, io.SeekEnd)
		}
	}
	if err == nil && size == 0 {
		_, err = file.WriteString(jobs.LogHeader)
	}
	if err != nil {
		return &exitError{exitRun, errors.Join(fmt.Errorf("--joblog: %s: %w", f.joblog, err), file.Close())}
	}
	m.log = &jobLog{file: file}
	return nil
}

// readJobLog leaves out what openJobLog would, and changes no file.
func (m *many) readJobLog() error {
	if !m.flags.resume && !m.flags.resumeFailed {
		return nil
	}
	file, err := os.Open(m.flags.joblog)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &exitError{exitRun, err}
	}
	defer file.Close()
	if _, err := m.leaveOut(file); err != nil {
		return &exitError{exitRun, fmt.Errorf("--joblog: %s: %w", m.flags.joblog, err)}
	}
	return nil
}

// leaveOut has the jobs left out that a log tells of, and returns the size of its whole lines.
func (m *many) leaveOut(log io.Reader) (size int64, err error) {
	done, size, err := jobs.ReadLog(log)
	m.skip = func(seq int64) bool { return done.Skip(seq, m.flags.resumeFailed) }
	return size, err
}

// write adds a line at once, so that it stands there whatever happens next.
func (l *jobLog) write(r *jobs.Record) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = r.AppendLine(l.line[:0])
	_, err := l.file.Write(l.line)
	return err
}

func (l *jobLog) close() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}
