//go:build !linux && !windows

package host

import (
	"context"

	gops "github.com/shirou/gopsutil/v3/process"
)

// scan returns the processes of the host whose parent can be read, in one pass.
func scan(ctx context.Context) ([]process, error) {
	pids, err := gops.PidsWithContext(ctx)
	if err != nil {
		return nil, err
	}
	var all []process
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		parent, err := (&gops.Process{Pid: pid}).PpidWithContext(ctx)
		if err != nil {
			continue // it ended
		}
		all = append(all, process{pid: int(pid), parent: int(parent), start: startOf(ctx, int(pid))})
	}
	return all, nil
}
