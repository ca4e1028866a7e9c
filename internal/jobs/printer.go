package jobs

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
)

// A Part is what a job printed to one of its standard files.
type Part struct {
	Text io.ReaderAt
	Size int64
}

// A Printer prints the output of one job after another, never that of two mixed. Its fields are not to be changed once
// it is used. It is safe for concurrent use.
type Printer struct {
	Stdout, Stderr io.Writer

	// Tag puts the tag of a job and a TAB before each of its lines, and ends the last line.
	Tag bool

	// Ordered prints the jobs in the order of their numbers, which are given without a gap from 1. What comes
	// before its time is kept in a file from Spool, which the Printer closes and removes.
	Ordered bool
	Spool   func() (*os.File, error)

	mu      sync.Mutex
	printed int64 // jobs, in order
	kept    map[int64]keptJob
	spool   *os.File
	end     int64 // of the spool
}

// A keptJob waits for its turn.
type keptJob struct {
	tag            string
	at             int64 // in the spool
	stdout, stderr int64 // bytes
}

// Print prints what a job wrote to its standard output and standard error. number and tag matter only where Ordered and
// Tag say so. Nothing is held of parts when it has returned. It blocks while the output takes nothing.
func (p *Printer) Print(number int64, tag string, stdout, stderr Part) error {
	if !p.Ordered && stdout.Size == 0 && stderr.Size == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Ordered {
		return p.printLocked(tag, stdout, stderr)
	}
	if number != p.printed+1 {
		return p.keepLocked(number, tag, stdout, stderr)
	}
	p.printed++
	if err := p.printLocked(tag, stdout, stderr); err != nil {
		return err
	}
	return p.printKeptLocked()
}

// Flush prints what waits for jobs that will not come, or whose turn came when printing failed. After an error the rest
// of it is lost.
func (p *Printer) Flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for len(p.kept) > 0 && err == nil {
		err = p.printKeptLocked()
		p.printed++
	}
	clear(p.kept)
	if p.spool == nil {
		return err
	}
	err = errors.Join(err, p.spool.Close())
	if gone := os.Remove(p.spool.Name()); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	p.spool = nil
	return err
}

func (p *Printer) keepLocked(number int64, tag string, stdout, stderr Part) error {
	if p.kept == nil {
		p.kept = map[int64]keptJob{}
	}
	k := keptJob{tag: tag, at: p.end, stdout: stdout.Size, stderr: stderr.Size}
	if k.stdout+k.stderr > 0 && p.spool == nil {
		var err error
		if p.spool, err = p.Spool(); err != nil {
			return err
		}
	}
	for _, part := range [...]Part{stdout, stderr} {
		if part.Size == 0 {
			continue
		}
		n, err := io.Copy(io.NewOffsetWriter(p.spool, p.end), io.NewSectionReader(part.Text, 0, part.Size))
		p.end += n
		if err != nil {
			return err
		}
	}
	p.kept[number] = k
	return nil
}

// printKeptLocked prints the jobs whose turn has come.
func (p *Printer) printKeptLocked() error {
	for {
		k, ok := p.kept[p.printed+1]
		if !ok {
			break
		}
		delete(p.kept, p.printed+1)
		p.printed++
		stdout := Part{io.NewSectionReader(p.spool, k.at, k.stdout), k.stdout}
		stderr := Part{io.NewSectionReader(p.spool, k.at+k.stdout, k.stderr), k.stderr}
		if err := p.printLocked(k.tag, stdout, stderr); err != nil {
			return err
		}
	}
	if len(p.kept) == 0 && p.end > 0 {
		p.end = 0
		return p.spool.Truncate(0)
	}
	return nil
}

func (p *Printer) printLocked(tag string, stdout, stderr Part) error {
	for _, t := range [...]struct {
		to   io.Writer
		part Part
	}{{p.Stdout, stdout}, {p.Stderr, stderr}} {
		if t.part.Size == 0 {
			continue
		}
		text := io.NewSectionReader(t.part.Text, 0, t.part.Size)
		var err error
		if p.Tag {
			err = copyTagged(t.to, tag, text)
		} else {
			_, err = io.Copy(t.to, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyTagged copies text with the tag before each line.
func copyTagged(to io.Writer, tag string, text io.Reader) error {
	lines, out := bufio.NewReader(text), bufio.NewWriter(to)
	for begin := true; ; {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 && begin {
			out.WriteString(tag) // Flush tells of an error
			out.WriteByte('\t')
		}
		out.Write(line)
		switch {
		case err == io.EOF:
			if len(line) > 0 || !begin {
				out.WriteByte('\n')
			}
			return out.Flush()
		case err == nil:
			begin = true
		case err == bufio.ErrBufferFull:
			begin = false
		default:
			return err
		}
	}
}
