//go:build !linux

package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	gops "github.com/shirou/gopsutil/v3/process"

	"github.com/headroom-rpc/headroom/snapshot"
)

// ProcessScanner reads all processes of the host in one pass, for everybody who asks about some of them. It is not
// safe for concurrent use.
type ProcessScanner struct {
	closed    bool
	serial    uint64 // of the last process that was met
	now, last snapshot.Processes
}

// OpenProcesses returns a scanner. It keeps no file open here.
func OpenProcesses(int) (*ProcessScanner, error) { return new(ProcessScanner), nil }

// Scan makes a pass and returns it; it is good until the next one, and until then Watch is the caller's to set. With
// all it reads every process anew, also those that nobody watches.
func (s *ProcessScanner) Scan(ctx context.Context, all bool) (*snapshot.Processes, error) {
	if s.closed {
		return nil, fmt.Errorf("scan processes: %w", fs.ErrClosed)
	}
	s.now, s.last = s.last, s.now
	s.now.Reset()
	s.now.Began = uint64(time.Now().UnixMilli())
	found, err := scan(ctx)
	if err != nil {
		s.now.Reset()
		return nil, fmt.Errorf("scan processes: %w", err)
	}
	slices.SortFunc(found, func(a, b process) int { return cmp.Compare(a.pid, b.pid) })
	for _, p := range found {
		e := snapshot.ProcessEntry{PID: int32(p.pid), Parent: int32(p.parent), Start: p.start}
		was := s.last.Find(e.PID)
		same := was >= 0 && s.last.Start[was] == e.Start
		if same {
			e.Watch, e.Serial = s.last.Watch[was], s.last.Serial[was]
		} else {
			s.serial++
			e.Serial = s.serial
		}
		if all || !same || e.Watch {
			readEntry(ctx, &e)
			if !e.Known {
				s.now.Unreadable++
			}
		}
		s.now.Append(e)
	}
	return &s.now, nil
}

// readEntry reads what a process uses, as far as this system tells.
func readEntry(ctx context.Context, e *snapshot.ProcessEntry) {
	p := &gops.Process{Pid: e.PID}
	times, err := p.TimesWithContext(ctx)
	if err != nil {
		return // it ended, or it is another user's
	}
	memory, err := p.MemoryInfoWithContext(ctx)
	if err != nil {
		return
	}
	e.Known = true
	e.User, e.System = seconds(times.User), seconds(times.System)
	e.RSS, e.VMS = int64(memory.RSS), int64(memory.VMS)
	e.Threads, _ = p.NumThreadsWithContext(ctx) // 0 where it is not told
	if nice, err := p.NiceWithContext(ctx); err == nil && nice >= -20 && nice <= 20 {
		e.Nice = int8(nice)
	}
	status, _ := p.StatusWithContext(ctx)
	if len(status) > 0 {
		e.Status = gopsStatus[status[0]]
	}
}

var gopsStatus = map[string]snapshot.ProcessStatus{
	gops.Running: snapshot.ProcessRunning, gops.Sleep: snapshot.ProcessSleeping, gops.Stop: snapshot.ProcessStopped,
	gops.Idle: snapshot.ProcessIdle, gops.Zombie: snapshot.ProcessZombie, gops.Wait: snapshot.ProcessWaiting,
	gops.Blocked: snapshot.ProcessWaiting,
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Held returns how many files are kept open: none here.
func (s *ProcessScanner) Held() int { return 0 }

// PSS returns errors.ErrUnsupported here.
func (s *ProcessScanner) PSS(context.Context, int32, uint64) (int64, error) {
	return 0, errors.ErrUnsupported
}

// Close ends the scanner. Each later pass is an error.
func (s *ProcessScanner) Close() { s.closed = true }
