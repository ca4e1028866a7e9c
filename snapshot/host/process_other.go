//go:build !linux

package host

import (
	"context"
	"errors"
	"math"

	gops "github.com/shirou/gopsutil/v3/process"

	"github.com/headroom-rpc/headroom/snapshot"
)

// processHandle is how the process is asked; the start time identifies it.
type processHandle struct{ found *gops.Process }

// OpenProcess returns the process that has the pid now, to be closed by the caller. It returns ErrNoProcess for a
// pid that none has. Its start time tells it apart from another that has its pid later.
func OpenProcess(ctx context.Context, pid int) (*Process, error) {
	if pid < 1 || pid > math.MaxInt32 {
		return nil, ErrNoProcess
	}
	found, err := gops.NewProcessWithContext(ctx, int32(pid))
	if err != nil {
		return nil, ended(err)
	}
	p := &Process{process: process{pid: pid, start: startOf(ctx, pid)}, handle: processHandle{found}}
	if p.start == 0 {
		return nil, ErrNoProcess
	}
	// A system that does not say whose it is leaves it nobody's.
	uids, _ := found.UidsWithContext(ctx)
	for _, uid := range uids {
		p.uids = append(p.uids, int(uid))
	}
	return p, nil
}

// Memory returns what the process uses: its RSS. The other figures of the reading are zero. It returns
// ErrNoProcess when the process has ended.
func (p *Process) Memory(ctx context.Context) (snapshot.MemoryReading, error) {
	if err := ctx.Err(); err != nil {
		return snapshot.MemoryReading{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := p.handle.found.MemoryInfoWithContext(ctx)
	if startOf(ctx, p.pid) != p.start {
		return snapshot.MemoryReading{}, ErrNoProcess
	}
	if err != nil {
		return snapshot.MemoryReading{}, ended(err)
	}
	return snapshot.MemoryReading{Used: int64(info.RSS), Definition: "RSS", Source: treeSource}, nil
}

func (p *Process) ended() bool { return startOf(context.Background(), p.pid) != p.start }

// Close releases what keeps hold of the process. The Process must not be used afterwards.
func (p *Process) Close() {}

// ended turns the error of looking for a process into ErrNoProcess where that is what it says.
func ended(err error) error {
	if errors.Is(err, gops.ErrorProcessNotRunning) {
		return ErrNoProcess
	}
	return err
}
