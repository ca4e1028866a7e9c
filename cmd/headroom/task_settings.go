package main

import (
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot/host"
	"github.com/headroom-rpc/headroom/task"
)

// newTaskSettings returns the settings of tasks that hold when nothing is given.
func newTaskSettings() server.TaskConfig {
	return server.TaskConfig{
		Sampling: task.Config{}.WithDefaults(),
		Disk:     host.DiskConfig{Deadline: host.DefaultDiskDeadline, Share: host.DefaultDiskShare},
	}
}

func (c *serveSettings) taskSettings() []setting {
	s, d := &c.tasks.Sampling, &c.tasks.Disk
	return []setting{
		durationSetting("task-interval", &s.Interval, task.MinInterval, task.MaxInterval,
			"time between two samples of a task; longer where the passes over the processes take over 1 % of a core"),
		durationSetting("task-disk-interval", &s.DiskInterval, task.MinDiskInterval, task.MaxDiskInterval,
			"time between two readings of the folder of a task"),
		durationSetting("task-history", &s.History, time.Minute, task.MaxHistory,
			fmt.Sprintf("how far back samples of a task are kept; at most %d times task-interval", task.MaxPoints)),
		sizeSetting("task-history-size", &s.HistoryBytes, 1<<20, 16<<30,
			"memory of the histories of all tasks; over it the oldest samples are thinned out"),
		durationSetting("task-keep", &s.Keep, 0, task.MaxHistory, "how long a task is known after it ended"),
		durationSetting("task-disk-deadline", &d.Deadline, time.Second, time.Hour,
			"how long one reading of a folder may take; then it is partial"),
		ratioSetting("task-disk-share", &d.Share, "share of one core that the readings of the folders of one mount take"),
		switchSetting("task-disk-remote", &d.Remote, "read folders on network and FUSE file systems too, which may hang"),
	}
}

// taskConflicts reports settings of tasks that do not go together.
func (c *serveSettings) taskConflicts(add func(name, text, want string)) {
	s := &c.tasks.Sampling
	if s.History < s.Interval {
		add("task-history", formatDuration(s.History), "want at least task-interval, which is "+formatDuration(s.Interval))
	}
	if s.History/s.Interval > task.MaxPoints {
		add("task-history", formatDuration(s.History),
			fmt.Sprintf("want at most %d times task-interval, which is %s", task.MaxPoints, formatDuration(s.Interval)))
	}
}
