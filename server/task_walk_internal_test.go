package server

import (
	"testing"
	"time"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
	"github.com/headroom-rpc/headroom/task"
)

// The walk of a task's folder ends with the task, and does not begin after it.
func TestWalkEndsWithItsTask(t *testing.T) {
	begin := func(t *testing.T) (s *taskService, walks, stops *int) {
		monitor, err := task.NewMonitor(task.Config{})
		if err != nil {
			t.Fatal(err)
		}
		walks, stops = new(int), new(int)
		s = &taskService{
			limits: Limits{MaxTasksPerIdentity: 1}, monitor: monitor, clock: func() time.Duration { return time.Second },
			leases: map[string]*taskLease{}, handles: map[uint64]*handle{}, observed: make(chan struct{}),
			startWalk: func(host.DiskRequest, func(snapshot.DiskReading)) func() {
				*walks++
				return func() { *stops++ }
			},
		}
		who := Identity{Name: "a", UID: 1, Role: RoleWorker}
		err = s.register(who, "id", &headroomv1.RegisterTaskRequest{Name: "x", Sandbox: "/x"}, nil, nil, 0, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return s, walks, stops
	}
	due := func(t *testing.T, s *taskService) task.DiskJob {
		jobs := s.monitor.DiskDue(time.Second)
		if len(jobs) != 1 {
			t.Fatalf("due are %v, want the one folder", jobs)
		}
		return jobs[0]
	}
	t.Run("during", func(t *testing.T) {
		s, walks, stops := begin(t)
		(&taskLoop{taskService: s}).walk(due(t, s))
		if *walks != 1 || *stops != 0 {
			t.Errorf("%d walks, %d stopped, want 1 that goes on", *walks, *stops)
		}
		s.endLocked(time.Second, "id", task.Unregistered, nil)
		if *stops != 1 {
			t.Errorf("%d walks are stopped, want 1", *stops)
		}
	})
	t.Run("before", func(t *testing.T) {
		s, walks, _ := begin(t)
		job := due(t, s)
		s.endLocked(time.Second, "id", task.Unregistered, nil)
		(&taskLoop{taskService: s}).walk(job)
		if *walks != 0 {
			t.Errorf("%d walks, want none", *walks)
		}
	})
	t.Run("meanwhile", func(t *testing.T) {
		s, _, stops := begin(t)
		start := s.startWalk
		s.startWalk = func(r host.DiskRequest, done func(snapshot.DiskReading)) func() {
			s.endLocked(time.Second, "id", task.Unregistered, nil)
			return start(r, done)
		}
		(&taskLoop{taskService: s}).walk(due(t, s))
		if *stops != 1 {
			t.Errorf("%d walks are stopped, want 1", *stops)
		}
	})
}
