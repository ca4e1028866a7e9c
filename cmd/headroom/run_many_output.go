package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

// A capture is where one command prints to.
type capture struct {
	stdout, stderr *os.File

	// broken is closed when what the command prints can go nowhere; nil where that shows only at its end.
	broken <-chan struct{}

	// started is called once the command has the files.
	started func()

	// end is called when the command has ended; print is whether what it printed is wanted, and left whether what it
	// started may print more. It returns how many bytes that was, as far as they came by.
	end func(print, left bool) (int64, error)
}

// output gives each command a place to print to.
type output func(order int64, tag string) (*capture, error)

// newOutput returns the output of the flags to stdout and stderr, and what to call at its end.
func (f *manyFlags) newOutput(stdout, stderr io.Writer) (output, func() error) {
	switch {
	case f.ungroup:
		return ungrouped, func() error { return nil }
	case f.lineBuffer:
		return byLine(stdout, stderr, f.tag), func() error { return nil }
	default:
		g := &grouped{printer: jobs.Printer{Stdout: stdout, Stderr: stderr, Tag: f.tag, Ordered: f.keepOrder, Spool: tempFile}}
		return g.open, g.close
	}
}

const (
	// briefFiles is how many file descriptors are kept, beside those that are open when the first command starts, for
	// what is open for a moment, or later.
	briefFiles = 16

	// leastFiles is how many it takes to run one command after another, with some to spare.
	leastFiles = 32

	// manyAtOnce is, beside the cores, how many commands are not few.
	manyAtOnce = 16
)

// mostAtOnce is how many commands may run at once with as many free file descriptors, and as many as asked for, 0 for no
// bound.
func (f *manyFlags) mostAtOnce(free int64) int64 {
	each := int64(2)
	switch {
	case f.ungroup:
		return f.most.most
	case f.lineBuffer:
		each = 4 // until the command has its two
	}
	fit := max(1, (free-briefFiles)/each)
	if f.most.most == 0 {
		return fit
	}
	return min(fit, f.most.most)
}

// ungrouped has the commands write to the files of headroom.
func ungrouped(int64, string) (*capture, error) {
	return &capture{
		stdout: os.Stdout, stderr: os.Stderr,
		started: func() {}, end: func(bool, bool) (int64, error) { return 0, nil },
	}, nil
}

// grouped keeps what each command prints in files, so that nothing passes through headroom before the command has ended,
// and most often nothing at all.
type grouped struct {
	printer jobs.Printer

	mu   sync.Mutex
	free []*os.File // empty
}

func (g *grouped) open(order int64, tag string) (*capture, error) {
	stdout, err := g.take()
	if err != nil {
		return nil, err
	}
	stderr, err := g.take()
	if err != nil {
		return nil, errors.Join(err, drop(stdout))
	}
	return &capture{stdout: stdout, stderr: stderr, started: func() {}, end: func(print, left bool) (int64, error) {
		out, err1 := printed(stdout)
		errs, err2 := printed(stderr)
		err := errors.Join(err1, err2)
		if err == nil && print {
			cut := probe(stdout, out.Size) // first: others may soon leave room
			if cut == nil {
				cut = probe(stderr, errs.Size)
			}
			err = errors.Join(g.printer.Print(order, tag, out, errs), cut)
		}
		return out.Size + errs.Size,
			errors.Join(err, g.giveBack(stdout, left || out.Size > 0), g.giveBack(stderr, left || errs.Size > 0))
	}}, nil
}

func printed(file *os.File) (jobs.Part, error) {
	info, err := file.Stat()
	if err != nil {
		return jobs.Part{}, err
	}
	return jobs.Part{Text: file, Size: info.Size()}, nil
}

// probe returns why the file to which a command printed so many bytes may not have taken all of them: only the command
// was told. A write that finds no room leaves a file that ends with a block; where there are no free blocks at all it may
// also have been that of another command, which still runs. What is asked for that seldom costs nothing.
func probe(file *os.File, size int64) error {
	const block, blocks = 512, 4096 + 1 // the least there is, and more than most files have left of theirs
	var more []byte
	switch {
	case noBlocksFree(file):
		more = make([]byte, blocks)
	case size > 0 && size%block == 0:
		more = make([]byte, 1)
	default:
		return nil
	}
	_, err := file.Write(more)
	err = errors.Join(err, file.Truncate(size))
	var full syscall.Errno
	if errors.As(err, &full) && (full == syscall.ENOSPC || full == syscall.EDQUOT) {
		return fmt.Errorf("its output may be incomplete: %s: %w", filepath.Dir(file.Name()), full)
	}
	return nil
}

func (g *grouped) take() (*os.File, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if last := len(g.free) - 1; last >= 0 {
		file := g.free[last]
		g.free = g.free[:last]
		return file, nil
	}
	return appendFile()
}

// giveBack keeps a file for another command, unless it is used: something was written to it, or may be.
func (g *grouped) giveBack(file *os.File, used bool) error {
	if used {
		return drop(file)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free = append(g.free, file)
	return nil
}

func (g *grouped) close() error {
	err := g.printer.Flush()
	for _, file := range g.free {
		err = errors.Join(err, drop(file))
	}
	return err
}

// tempFile returns a file that, where the system lets, has no name any more.
func tempFile() (*os.File, error) {
	file, err := os.CreateTemp("", "headroom-run-*")
	if err == nil {
		_ = os.Remove(file.Name()) // or when it is closed
	}
	return file, err
}

// appendFile returns one that is only appended to: also by a command that opens /dev/stderr anew, and then goes on with
// what it had.
func appendFile() (*os.File, error) {
	named, err := os.CreateTemp("", "headroom-run-*")
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(named.Name(), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, errors.Join(err, drop(named))
	}
	_ = os.Remove(named.Name()) // or by drop
	return file, named.Close()
}

func drop(file *os.File) error {
	err := file.Close()
	if gone := os.Remove(file.Name()); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// lingering is how long after the end of a command its lines are read that others write whom it left running.
const lingering = 50 * time.Millisecond

// byLine passes on whole lines as they come.
func byLine(stdout, stderr io.Writer, tagged bool) output {
	var lock sync.Mutex
	return func(_ int64, tag string) (*capture, error) {
		if tag += "\t"; !tagged {
			tag = ""
		}
		broken := make(chan struct{})
		fail := sync.OnceFunc(func() { close(broken) })
		out, err := newLinePipe(&jobs.LineWriter{To: stdout, Lock: &lock, Prefix: tag}, fail)
		if err != nil {
			return nil, err
		}
		errs, err := newLinePipe(&jobs.LineWriter{To: stderr, Lock: &lock, Prefix: tag}, fail)
		if err != nil {
			return nil, errors.Join(err, out.close())
		}
		return &capture{
			stdout: out.w, stderr: errs.w, broken: broken,
			started: func() { out.read(); errs.read() },
			end: func(bool, bool) (int64, error) {
				err := errors.Join(out.close(), errs.close())
				return out.size + errs.size, err
			},
		}, nil
	}
}

// A linePipe is the way from a command to a LineWriter.
type linePipe struct {
	lines   *jobs.LineWriter
	fail    func() // called when lines takes no more
	r, w    *os.File
	reading sync.WaitGroup
	size    int64
	err     error
}

func newLinePipe(lines *jobs.LineWriter, fail func()) (*linePipe, error) {
	r, w, err := os.Pipe()
	return &linePipe{lines: lines, fail: fail, r: r, w: w}, err
}

// read passes lines on, in a goroutine, once the command has the end to write to.
func (p *linePipe) read() {
	p.w.Close() // the command has its own
	p.w = nil
	p.reading.Go(func() {
		p.size, p.err = io.Copy(p.lines, p.r)
		if errors.Is(p.err, os.ErrDeadlineExceeded) {
			p.err = nil
		}
		if p.err != nil {
			p.fail()
		}
	})
}

func (p *linePipe) close() error {
	if p.w != nil { // the command was not started
		p.w.Close()
	}
	_ = p.r.SetReadDeadline(time.Now().Add(lingering)) // where there are none, it ends with the last writer
	p.reading.Wait()
	return errors.Join(p.err, p.lines.Close(), p.r.Close())
}
