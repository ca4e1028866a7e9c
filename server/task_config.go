package server

import (
	"errors"

	"github.com/headroom-rpc/headroom/snapshot/host"
	"github.com/headroom-rpc/headroom/task"
)

// TaskConfig says how tasks are sampled. The zero value is the default.
type TaskConfig struct {
	// Sampling is that of the [task.Monitor]. Its MaxTasks is not used: [Limits.MaxTasks] is.
	Sampling task.Config

	// Disk says how the folders of tasks are walked.
	Disk host.DiskConfig
}

func (c TaskConfig) validate() error {
	_, err := task.NewMonitor(c.Sampling)
	if c.Disk.Deadline < 0 {
		err = errors.Join(err, errors.New("Disk.Deadline: it is negative"))
	}
	if c.Disk.Share < 0 || c.Disk.Share > 1 {
		err = errors.Join(err, errors.New("Disk.Share: it is not over 0 and up to 1"))
	}
	return err
}
