package server

import (
	"context"
	"fmt"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/task"
)

// watchedTask returns the memory of a task with all its processes against its limit, by the newest sample. A reading
// says how old that is.
func (s *severityService) watchedTask(id string, who Identity) (*watched, error) {
	s.tasks.mu.Lock()
	info, err := s.tasks.findLocked(who, id)
	s.tasks.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case info.Ended != task.Running:
		return nil, &taskError{id: id, ended: true}
	case info.MemoryLimit == 0:
		return nil, errNoLimit
	}
	read := func(context.Context) (p severity.Process, end, err error) {
		s.tasks.mu.Lock()
		defer s.tasks.mu.Unlock()
		now, err := s.tasks.monitor.Info(id)
		switch {
		case err != nil || now.Ended != task.Running:
			err := &taskError{id: id, ended: true}
			return p, err, err
		case now.MemoryLimit != info.MemoryLimit:
			return p, errReporterChanged, errReporterChanged
		}
		sample, err := s.tasks.monitor.Sample(s.tasks.clock(), id, task.Query{})
		if err != nil {
			return p, nil, err
		}
		bytes, definition, ok := sample.Usage.Memory()
		if !ok {
			return p, nil, fmt.Errorf("the memory of task %q is unknown", info.Name)
		}
		return severity.Process{
			Used: bytes, Max: info.MemoryLimit, At: s.snapshotter.Now() - (s.tasks.clock() - sample.At), Known: true,
			Definition: definition, Limit: fmt.Sprintf("memory limit of task %q (%s)", info.Name, id),
		}, nil, nil
	}
	return &watched{max: info.MemoryLimit, read: read, close: func() {}}, nil
}
