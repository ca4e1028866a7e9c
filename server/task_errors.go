package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/task"
)

// taskError reports a task that there is not, or that the caller may not know of, or that has ended.
type taskError struct {
	id    string
	ended bool
}

func (e *taskError) Error() string {
	if e.ended {
		return fmt.Sprintf("server: task %s has ended", e.id)
	}
	return fmt.Sprintf("server: no task %s", e.id)
}

// groupError reports a cgroup that there is not, or that the caller may not name.
type groupError struct{ path string }

func (e *groupError) Error() string { return fmt.Sprintf("server: no cgroup %q", e.path) }

// taskLimitError reports Limits.MaxTasks, or MaxTasksPerIdentity.
type taskLimitError struct {
	most     int
	identity string // empty for all of them
}

func (e *taskLimitError) Error() string {
	if e.identity == "" {
		return fmt.Sprintf("server: there are %d tasks, which is the most (MaxTasks)", e.most)
	}
	return fmt.Sprintf("server: %s has %d tasks, which is the most (MaxTasksPerIdentity)", e.identity, e.most)
}

// errNoLimit reports the severity of a task that has no memory limit.
var errNoLimit = errors.New("server: the task has no memory limit")

// taskStatus returns the status of an error of the task service, or nil of another.
func taskStatus(err error) error {
	var (
		one   *taskError
		group *groupError
		most  *taskLimitError
	)
	switch {
	case errors.As(err, &one) && one.ended:
		return refuse(reasonTaskEnded, fmt.Sprintf("task %s has ended", one.id), resourceInfo("Task", one.id))
	case errors.As(err, &one):
		return refuse(reasonNoTask, fmt.Sprintf("there is no task %s that the caller may see", one.id), resourceInfo("Task", one.id))
	case errors.Is(err, task.ErrNoProcess):
		return refuse(reasonNoTaskProcess, "the task has no process of that name")
	case errors.Is(err, task.ErrNoSample):
		return refuse(reasonNoSample, "no sample: "+noSampleText(err))
	case errors.As(err, &group):
		return refuse(reasonNoGroup, fmt.Sprintf("there is no cgroup %q that the caller may name", clip(group.path)),
			resourceInfo("Cgroup", clip(group.path)))
	case errors.As(err, &most):
		return refuse(reasonTasks, most.Error(), retryAfter(5*time.Second))
	case errors.Is(err, errNoLimit):
		return refuse(reasonNoTaskLimit, "the task has no memory limit, so there is no severity of it: register it with one")
	default:
		return nil
	}
}

// noSampleText returns what an ErrNoSample says beside that.
func noSampleText(err error) string {
	const prefix = "task: no sample: "
	if text := err.Error(); len(text) > len(prefix) && text[:len(prefix)] == prefix {
		return text[len(prefix):]
	}
	return "there is none that the request allows"
}

// fieldNames are the names in a request of the fields of a task.Spec.
var fieldNames = map[string]string{
	"Interval": "sample_interval", "DiskInterval": "disk_interval", "History": "history", "Processes": "processes",
	"MemoryLimit": "memory_limit_bytes",
}

// specFaults turns the faults of a task.Spec into those of the request.
func specFaults(err error) error {
	invalid := &invalidError{}
	var walk func(error)
	walk = func(err error) {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range joined.Unwrap() {
				walk(one)
			}
			return
		}
		var field *task.FieldError
		if errors.As(err, &field) {
			invalid.add(fieldNames[field.Field], "%s", field.Text)
		}
	}
	walk(err)
	if len(invalid.violations) == 0 {
		return err
	}
	return invalid
}
