package server

import (
	"context"
	"time"

	"github.com/headroom-rpc/headroom/diagnostics"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/task"
)

// alwaysEvery is how often it is looked which registered tasks have begun or ended, at least.
const alwaysEvery = time.Second

// followTasks records every registered task with what is always recorded from outside, until ctx is done. What only
// the task itself can record is recorded when it asks for anything.
func (s *diagnosticsService) followTasks(ctx context.Context, tasks *taskService) {
	memory, _ := diagnostics.Lookup(diagnostics.RecorderMemory)
	if !diagnostics.Allows(s.config.Always, memory) {
		return
	}
	going := make(map[string]*recording)
	defer func() {
		for _, r := range going {
			r.breakOff()
			r.release()
		}
	}()
	tick := time.NewTicker(alwaysEvery)
	defer tick.Stop()
	for {
		tasks.mu.Lock()
		all := tasks.monitor.List()
		tasks.mu.Unlock()
		running := make(map[string]bool, len(all))
		for i := range all {
			info := &all[i]
			r := going[info.ID]
			switch {
			case info.Ended == task.Running && !info.ProcessesEnded:
				running[info.ID] = true
				if r == nil && len(going) < s.config.MaxRecordings {
					if r = s.always(ctx, info, memory); r != nil {
						going[info.ID] = r
					}
				}
			case r != nil:
				s.taskEnded(r, info)
				delete(going, info.ID)
			}
		}
		for id, r := range going {
			if !running[id] {
				s.taskEnded(r, nil)
				delete(going, id)
			}
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// always begins to record a task, or returns nil: it has no process that could be, or there is no room.
func (s *diagnosticsService) always(ctx context.Context, info *task.Info, memory diagnostics.Recorder) *recording {
	owner := Identity{Name: info.Owner, Role: RoleWorker, UID: -1, PID: -1}
	roots := s.tasks.taskRoots(ctx, owner, info.ID)
	if len(roots) == 0 {
		return nil
	}
	r := &recording{
		service: s, store: s.store.Load(), identity: owner, start: &headroomv1.DiagnosticsStart{TaskId: info.ID},
		run: newInstanceID(), interval: s.config.MemoryInterval, chosen: []diagnostics.Recorder{memory},
		tree: s.trees.open(roots),
	}
	if err := r.begin(ctx); err != nil {
		s.log.Error("a task is not recorded", "task", logText(info.ID), "error", err.Error())
		r.release()
		return nil
	}
	return r
}

// taskEnded ends the recording of a task that ended as info says; nil for one that is forgotten.
func (s *diagnosticsService) taskEnded(r *recording, info *task.Info) {
	failed := info != nil && (info.Ended == task.LeaseExpired || info.ExitCode != nil && *info.ExitCode != 0)
	r.end(failed, "")
	r.release()
}
