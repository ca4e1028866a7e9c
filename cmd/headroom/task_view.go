package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
	"google.golang.org/protobuf/types/known/durationpb"
)

// taskFreshness is how old the samples may be that `headroom tasks` shows.
const taskFreshness = time.Second

// tasksCommand is `headroom tasks` with its flags.
type tasksCommand struct {
	server *serverFlags
	asJSON func() bool
	stdout io.Writer
}

func newTasks() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tasks",
		Short: "Show the tasks and what they use",
		Long: `Show the tasks with what they use now: all for an observer, else those of one's
own identity; those that ended lately too. A sample that is over 1 s old is
taken anew. CPU is in cores, over the last second or more; MEMORY is the working
set of the task's control group where it has one, else the sum of its resident
sets, marked with ~ as what processes share counts for each of them, and - where
no process is left. DISK is marked with > where it is not all, with ~ where it
is old, and with = where it is the kernel's account of a project quota and not
what a walk of the folder found; ? is unknown.

With -o json, one ListTasksResponse of the API.`,
		Example: examples("headroom tasks", "headroom tasks -o json"),
		Args:    takes(cobra.NoArgs),
	}
	t := &tasksCommand{server: addServerFlags(cmd), asJSON: addOutputFlag(cmd)}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t.stdout = cmd.OutOrStdout()
		return t.run(cmd.Context())
	}
	return cmd
}

func (t *tasksCommand) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.server.timeout)
	defer cancel()
	c, err := t.server.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if t.asJSON() {
		all, err := listTasks(ctx, headroomv1.NewTaskServiceClient(c.Conn()))
		if err != nil {
			return callError(err)
		}
		return printJSON(t.stdout, all)
	}
	all, err := c.Tasks(ctx, taskFreshness)
	if err != nil {
		return callError(err)
	}
	_, err = io.WriteString(coloured(t.stdout), formatTable(taskTable(all, c.Now())))
	return err
}

// listTasks returns all tasks as the API has them.
func listTasks(ctx context.Context, api headroomv1.TaskServiceClient) (*headroomv1.ListTasksResponse, error) {
	req := &headroomv1.ListTasksRequest{PageSize: 1000, MaxAge: durationpb.New(taskFreshness)}
	all, err := api.ListTasks(ctx, req)
	for err == nil && all.GetNextPageToken() != "" && all.GetNextPageToken() != req.GetPageToken() {
		req.PageToken = all.GetNextPageToken()
		var page *headroomv1.ListTasksResponse
		if page, err = api.ListTasks(ctx, req); err == nil {
			all.Tasks = append(all.Tasks, page.GetTasks()...)
			all.NextPageToken, all.Health = page.GetNextPageToken(), page.GetHealth()
		}
	}
	if err != nil {
		return nil, err
	}
	all.NextPageToken = ""
	return all, nil
}

// taskTable returns a row for each task.
func taskTable(all []client.TaskState, now time.Duration) [][]cell {
	rows := [][]cell{header("TASK", "NAME", "OWNER", "STATE", ">CPU", ">CPU TIME", ">MEMORY", ">PROCESSES", ">THREADS", ">DISK", ">AGE")}
	for i := range all {
		one := &all[i]
		row := []cell{{text: clean(one.Info.ID)}, {text: clean(one.Info.Name)}, {text: clean(one.Info.Owner)}, taskStateCell(&one.Info)}
		if one.Sample == nil {
			for range len(rows[0]) - len(row) {
				row = append(row, cell{text: "-", right: true})
			}
			rows = append(rows, row)
			continue
		}
		u := &one.Sample.Usage
		row = append(row, rightCell(taskRate(u)), rightCell(taskCPUTime(u)), taskMemoryCell(&one.Info, u),
			rightCell(countText(u.Known, u.Processes)), rightCell(countText(u.Known, u.Threads)),
			diskCell(&one.Info, &one.Sample.Disk), rightCell(humanDuration(max(now-one.Sample.At, 0))))
		rows = append(rows, row)
	}
	return rows
}

func rightCell(text string) cell { return cell{text: text, right: true} }

func taskStateCell(i *task.Info) cell {
	switch {
	case i.Ended == task.Running && i.ProcessesEnded:
		return cell{text: "processes ended", style: styleUnknown}
	case i.Ended == task.Running:
		return cell{text: "running", style: styleIdle}
	case i.ExitCode != nil:
		return cell{text: fmt.Sprintf("ended with %d", *i.ExitCode)}
	default:
		return cell{text: i.Ended.String()}
	}
}

func taskRate(u *task.Usage) string {
	if !u.RateKnown {
		return "-"
	}
	return fmt.Sprintf("%.2f", u.Rate)
}

func taskCPUTime(u *task.Usage) string {
	if !u.CPUKnown {
		return "?"
	}
	return humanDuration(u.CPU)
}

// hasNoMemory reports whether the task has no process left whose memory there could be, and no cgroup.
func hasNoMemory(u *task.Usage) bool { return u.Known && u.Processes == 0 && !u.GroupKnown }

// taskMemoryCell marks memory that is over the limit of the task.
func taskMemoryCell(i *task.Info, u *task.Usage) cell {
	bytes, definition, ok := u.Memory()
	switch {
	case hasNoMemory(u):
		return rightCell("-")
	case !ok:
		return rightCell("?")
	}
	text := humanSize(bytes)
	if definition == "RSS" {
		text = "~" + text
	}
	c := rightCell(text)
	if i.MemoryLimit > 0 && bytes > i.MemoryLimit {
		c.style = styleOverloaded
	}
	return c
}

func countText(known bool, n int32) string {
	if !known {
		return "?"
	}
	return fmt.Sprint(n)
}

// diskCell marks a figure that no walk of the folder found.
func diskCell(i *task.Info, d *snapshot.DiskReading) cell {
	text := diskText(i, d)
	if i.Sandbox != "" && d.State != snapshot.DiskUnknown && d.Source == snapshot.DiskAccounted {
		text = "=" + text
	}
	return rightCell(text)
}

func diskText(i *task.Info, d *snapshot.DiskReading) string {
	if i.Sandbox == "" {
		return "-"
	}
	switch d.State {
	case snapshot.DiskOK:
		return humanSize(d.Bytes)
	case snapshot.DiskPartial:
		return ">" + humanSize(d.Bytes)
	case snapshot.DiskStale:
		return "~" + humanSize(d.Bytes)
	default:
		return "?"
	}
}

// reportText says in one line what a task used by the end, whose command ran for so long: longer than the server knows
// of if that was restarted.
func reportText(s *client.TaskState, ran time.Duration) string {
	u := &s.Sample.Usage
	parts := []string{"an unknown amount of CPU time"}
	if u.CPUKnown {
		parts[0] = fmt.Sprintf("%s of CPU time (%s user, %s system)", humanDuration(u.CPU), humanDuration(u.User), humanDuration(u.System))
	}
	if s.Info.Sandbox != "" {
		parts = append(parts, "disk "+diskText(&s.Info, &s.Sample.Disk))
	}
	return fmt.Sprintf("task %s used %s in %s", s.Info.Name, strings.Join(parts, ", "), humanDuration(ran))
}
