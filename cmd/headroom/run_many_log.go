package main

import (
	"errors"
	"fmt"
	"io"
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

// openJobLog begins a log, or goes on with one, and returns what it tells of.
func (f *manyFlags) openJobLog() (*jobLog, jobs.Finished, error) {
	if f.joblog == "" {
		return nil, nil, nil
	}
	if !f.resume && !f.resumeFailed {
		file, err := os.Create(f.joblog)
		if err != nil {
			return nil, nil, err
		}
		_, err = file.WriteString(jobs.LogHeader)
		return &jobLog{file: file}, nil, err
	}
	file, err := os.OpenFile(f.joblog, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, nil, err
	}
	done, size, err := jobs.ReadLog(file)
	if err == nil {
		err = file.Truncate(size) // a line that was cut off
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekEnd)
	}
	if err == nil && size == 0 {
		_, err = file.WriteString(jobs.LogHeader)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("--joblog: %s: %w", f.joblog, err), file.Close())
	}
	return &jobLog{file: file}, done, nil
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
