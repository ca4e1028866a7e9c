package wire_test

import (
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
)

func someTask() (task.Info, time.Time, task.Sample) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	code := int32(3)
	usage := task.Usage{
		Known: true, CPUKnown: true, CPU: 3 * time.Second, User: 2 * time.Second, System: time.Second, Rate: 1.5, RateKnown: true,
		RSS: 10, VMS: 20, PSS: 5, PSSAt: 50 * time.Second, PSSKnown: true, Group: 7, GroupKnown: true, Threads: 4,
		Processes: 2, Status: snapshot.ProcessFrozen, Nice: -3, StatusKnown: true,
	}
	info := task.Info{
		Spec: task.Spec{
			ID: "ab", Owner: "uid:7", Name: "web", Sandbox: "/s", MemoryLimit: 9, Interval: time.Second,
			DiskInterval: time.Minute, History: time.Hour,
		},
		RegisteredTime: at, Ended: task.LeaseExpired, EndedTime: at.Add(time.Hour), ExitCode: &code, ProcessesEnded: true,
		Span: time.Minute, Samples: 61, Thinned: true,
	}
	return info, at.Add(2 * time.Hour), task.Sample{
		At: 99 * time.Second, Time: at, Usage: usage, Stopped: "why",
		Processes: []task.ProcessUsage{{Name: "p", PID: 12, Usage: usage}, {Name: "q", Ended: true}},
		Disk: snapshot.DiskReading{State: snapshot.DiskStale, Source: snapshot.DiskAccounted, Reason: "r", Bytes: 1, Entries: 2,
			Took: time.Second},
		DiskAt: 40 * time.Second, DiskTime: at.Add(-time.Minute),
	}
}

func TestTaskRoundTrip(t *testing.T) {
	const now = 100 * time.Second
	for name, change := range map[string]func(*task.Info, *task.Sample){
		"all of it": func(*task.Info, *task.Sample) {},
		"running":   func(i *task.Info, _ *task.Sample) { i.Ended, i.EndedTime, i.ExitCode = task.Running, time.Time{}, nil },
		"unknown":   func(_ *task.Info, s *task.Sample) { s.Usage, s.Processes = task.Usage{}, nil },
		"no folder": func(_ *task.Info, s *task.Sample) {
			s.Disk, s.DiskAt, s.DiskTime = snapshot.DiskReading{}, 0, time.Time{}
		},
		"unknown disk": func(_ *task.Info, s *task.Sample) {
			s.Disk, s.DiskAt, s.DiskTime = snapshot.DiskReading{Reason: "r"}, 0, time.Time{}
		},
	} {
		info, expire, sample := someTask()
		change(&info, &sample)
		gotInfo, gotExpire, got := wire.TaskFrom(overTheWire(t, wire.Task(&info, expire, &sample, now)), now)
		if !reflect.DeepEqual(gotInfo, info) || !gotExpire.Equal(expire) || !reflect.DeepEqual(*got, sample) {
			t.Errorf("%s:\n got %+v %+v\nwant %+v %+v", name, gotInfo, *got, info, sample)
		}
	}
}

func TestUnknownTaskStates(t *testing.T) {
	info, _, _ := wire.TaskFrom(&headroomv1.Task{State: 99}, 0)
	if info.Ended == task.Running {
		t.Error("a state that is not known is taken for running")
	}
	s := wire.TaskSampleFrom(&headroomv1.TaskSample{Disk: &headroomv1.DiskUsage{State: 99, UsedBytes: proto.Int64(5)}}, 0)
	if s.Disk.State != snapshot.DiskUnknown || s.Disk.Bytes != 0 {
		t.Errorf("disk %+v, want unknown", s.Disk)
	}
	for m := task.Nearest; m <= task.Ceiling; m++ {
		if got := wire.SampleModeFrom(wire.SampleMode(m)); got != m {
			t.Errorf("mode %d comes back as %d", m, got)
		}
	}
}

// FuzzTaskFrom holds that whatever can be decoded is a task, and that a second trip of it changes nothing.
func FuzzTaskFrom(f *testing.F) {
	const now = time.Hour
	info, expire, sample := someTask()
	raw, err := proto.Marshal(wire.Task(&info, expire, &sample, now))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p headroomv1.Task
		if proto.Unmarshal(raw, &p) != nil {
			return
		}
		info, expire, sample := wire.TaskFrom(&p, now)
		again, expire2, sample2 := wire.TaskFrom(overTheWire(t, wire.Task(&info, expire, sample, now)), now)
		if !reflect.DeepEqual(again, info) || !expire2.Equal(expire) || (sample == nil) != (sample2 == nil) {
			t.Fatalf("second trip: %+v\nfirst trip:  %+v", again, info)
		}
		if sample != nil && (sample.Usage.CPU < 0 || sample.Usage.RSS < 0 || sample.Disk.Bytes < 0) {
			t.Fatalf("%+v", sample)
		}
	})
}
