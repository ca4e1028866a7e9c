package server_test

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// What a task may still take up to its memory limit is left free by the limit of the machine: nothing more starts
// where only that is left. Not so for what a worker says of a task of its own.
func TestMemoryIsLeftFreeForTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 16)
		l := lease(t, func(c *server.Config) {
			me := server.Identity{Name: "me", Role: server.RoleWorker, UID: os.Getuid(), PID: os.Getpid(), Local: true}
			c.Listeners = append(c.Listeners, server.NewListener(listener, me))
		}, "a")
		l.others["me"] = listener
		io := &tasker{
			worker: attach(t, l.as(t, "a"), "a", &headroomv1.PermitReport{Resource: "host", Want: 1000}), burns: 0.02,
		}
		grown := func() (limit int64, binding string) {
			t.Helper()
			for range 5 {
				work(t, l, 2, io)
			}
			account := l.host(t)
			return account.GetLimit(), account.GetBinding()
		}
		conn, _ := l.connect(t, "me")
		register(t, headroomv1.NewTaskServiceClient(conn), &headroomv1.RegisterTaskRequest{
			Name: "words", Processes: []*headroomv1.TaskProcess{self("p")}, MemoryLimitBytes: 1 << 40, Ttl: durationpb.New(24 * time.Hour),
		})
		free, binding := grown()
		if free < 3 || strings.Contains(binding, "left free") {
			t.Fatalf("limit %d (%s), want it to grow whatever a worker says of its task", free, binding)
		}

		// 1 of 4 GiB is in use; with what the task may still take, whatever this process uses by now, none would be free.
		id := register(t, l.tasks(), &headroomv1.RegisterTaskRequest{
			Name: "build", Processes: []*headroomv1.TaskProcess{self("p")}, MemoryLimitBytes: 8 << 30, Ttl: durationpb.New(24 * time.Hour),
		}).GetTaskId()
		held := io.targetOf("host").GetTarget()
		kept, binding := grown()
		if kept > held+1 || !strings.Contains(binding, "tasks with memory limits (1)") {
			t.Errorf("limit %d (%s) with %d held, want nothing more to start and the binding to say why", kept, binding, held)
		}
		if _, err := l.tasks().UnregisterTask(t.Context(), &headroomv1.UnregisterTaskRequest{TaskId: id}); err != nil {
			t.Fatal(err)
		}
		if again, binding := grown(); again <= kept {
			t.Errorf("limit %d (%s) once the task has ended, want more than %d", again, binding, kept)
		}
	})
}
