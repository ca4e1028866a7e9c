//go:build !linux

package host

import (
	"context"
	"fmt"
	"os"

	gops "github.com/shirou/gopsutil/v3/process"
)

const treeSource = "gopsutil processes"

// readTree returns the memory of this process and its descendants.
func readTree(ctx context.Context) (treeUse, error) {
	root := process{pid: os.Getpid(), start: startOf(ctx, os.Getpid())}
	var use treeUse
	all, err := scan(ctx)
	if ctx.Err() != nil {
		return treeUse{}, ctx.Err()
	}
	use.rootOnly = err != nil
	for _, p := range treeOf(root, all) {
		if err := ctx.Err(); err != nil {
			return treeUse{}, err
		}
		info, err := (&gops.Process{Pid: int32(p.pid)}).MemoryInfoWithContext(ctx)
		if err != nil {
			if p.pid == root.pid {
				return treeUse{}, fmt.Errorf("read memory of this process: %w", err)
			}
			continue // it ended, or it is another user's
		}
		use.bytes += int64(info.RSS)
		use.rss++
	}
	return use, nil
}

// startOf returns when the process began, or 0 where the kernel does not say.
func startOf(ctx context.Context, pid int) uint64 {
	ms, err := (&gops.Process{Pid: int32(pid)}).CreateTimeWithContext(ctx)
	if err != nil || ms < 0 {
		return 0
	}
	return uint64(ms)
}
