package host_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

func schedstat(waited ...int64) string {
	text := "version 17\ntimestamp 4295892\n"
	for i, w := range waited {
		text += fmt.Sprintf("cpu%d 0 0 0 0 0 0 3580213000 %d 42213\ndomain0 MC 3 0 0 0\n", i, w)
	}
	return text
}

func TestSignals(t *testing.T) {
	type step struct {
		after time.Duration // the call before; for the first, when it writes
		write files
		want  float64
		err   string
	}
	const (
		pod   = "sys/fs/cgroup/pods/pod1/cpu.stat"
		sched = "proc/schedstat"
	)
	tests := []struct {
		name   string
		signal string
		limit  float64
		before files
		steps  []step
	}{
		{"throttled", "cpu_throttled", 0.5, podFiles(nil), []step{
			{0, files{pod: cpuStat(0, 1, 1)}, 1, ""},
			{time.Second, files{pod: cpuStat(0, 11, 4)}, 0.3, ""},
			{time.Second, nil, 0, ""}, // nothing ran
			{100 * time.Millisecond, files{pod: cpuStat(0, 13, 5)}, 0.5, ""},
			{time.Second, files{pod: cpuStat(0, 0, 0)}, 0, ""},
		}},
		{"throttled most by the parent", "cpu_throttled", 0.5,
			podFiles(files{"sys/fs/cgroup/pods/pod1/app/cpu.max": "50000 100000\n"}), []step{
				{0, files{pod: cpuStat(0, 10, 7), "sys/fs/cgroup/pods/pod1/app/cpu.stat": cpuStat(0, 10, 2)}, 0.7, ""},
			}},
		{"throttled most by its own quota", "cpu_throttled", 0.5,
			podFiles(files{"sys/fs/cgroup/pods/pod1/app/cpu.max": "50000 100000\n"}), []step{
				{0, files{pod: cpuStat(0, 10, 2), "sys/fs/cgroup/pods/pod1/app/cpu.stat": cpuStat(0, 10, 7)}, 0.7, ""},
			}},
		{"throttled without a quota", "cpu_throttled", 0.5, podFiles(files{"sys/fs/cgroup/pods/pod1/cpu.max": "max 100000\n"}), []step{
			{0, nil, 0, ""},
			{time.Second, files{pod: cpuStat(0, 13, 5)}, 0, ""},
		}},
		{"throttled without cgroups", "cpu_throttled", 0.5, nil, []step{{0, nil, 0, ""}}},
		{"throttled where that is not counted", "cpu_throttled", 0.5, podFiles(files{pod: "usage_usec 1\n"}), []step{
			{0, nil, 0, "no nr_periods"},
		}},
		{"throttled where the use of the quota is not counted", "cpu_throttled", 0.5, files{
			"proc/self/cgroup":                     "1:cpu:/a\n",
			"proc/self/mountinfo":                  v1Mounts,
			"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "50000\n", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/cpu/a/cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
		}, []step{
			{0, files{"sys/fs/cgroup/cpu/a/cpu.stat": "nr_periods 4\nnr_throttled 1\nthrottled_time 5\n"}, 0.25, ""},
		}},
		{"run queue", "run_queue_wait", 1, files{sched: schedstat(0, 0)}, []step{
			{0, files{sched: schedstat(100_000_000, 100_000_000)}, 1, ""},
			{time.Second, files{sched: schedstat(4_100_000_000, 1_100_000_000)}, 2.5, ""},
			{time.Millisecond, files{sched: schedstat(4_200_000_000, 1_100_000_000)}, 2.5, ""},
			{time.Second, files{sched: schedstat(0, 0)}, 0, ""},
		}},
		{"run queue malformed", "run_queue_wait", 1, files{sched: "version 17\ncpu0 1 2 3\n"}, []step{
			{0, nil, 0, "cpu0 1 2 3"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			tt.before.write(t, root)
			synctest.Test(t, func(t *testing.T) {
				h, err := host.Open(host.Config{Root: root})
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				signal := signalOf(h, tt.signal)
				if signal == nil {
					t.Fatalf("no signal %s", tt.signal)
				}
				if signal.Stale != snapshot.StaleIgnore {
					t.Errorf("Stale = %v, want StaleIgnore", signal.Stale)
				}
				for i, step := range tt.steps {
					if i == 0 {
						time.AfterFunc(50*time.Millisecond, func() { step.write.write(t, root) })
					} else {
						time.Sleep(step.after)
						step.write.write(t, root)
					}
					got, limit, err := signal.Read(t.Context())
					if step.err != "" {
						if err == nil || !strings.Contains(err.Error(), step.err) {
							t.Errorf("call %d = %v, %v; want an error with %q", i, got, err, step.err)
						}
					} else if err != nil || math.Abs(got-step.want) > 1e-9 || limit != tt.limit {
						t.Errorf("call %d = %v of %v, %v; want %v of %v", i, got, limit, err, step.want, tt.limit)
					}
				}
			})
		})
	}
}

func signalOf(h *host.Host, name string) *snapshot.Signal {
	for _, s := range h.Signals() {
		if s.Name == name {
			return &s
		}
	}
	return nil
}

func TestRunQueueIsASignalWhereTheKernelTellsIt(t *testing.T) {
	h, err := host.Open(host.Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if signalOf(h, "run_queue_wait") != nil {
		t.Error("a signal run_queue_wait without /proc/schedstat")
	}
}
