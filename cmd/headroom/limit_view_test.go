package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

const pod = "memory.max of /kubepods/pod1"

// contained are the newest snapshots of a machine that a container sees a part of.
func contained() []snapshot.Snapshot {
	return []snapshot.Snapshot{
		{Signal: "cpu", Resource: snapshot.CPU, CPU: snapshot.CPUReading{Cores: 1.5, Limit: "cpu.max of /kubepods/pod1"}},
		{Signal: "memory", Resource: snapshot.Memory, Memory: snapshot.MemoryReading{
			Used: 1 << 30, Total: 2 << 30, Max: 2 << 30, Limit: pod,
			Tightest: snapshot.MemoryLevel{Used: 1 << 30, Total: 2 << 30, Limit: pod},
		}},
	}
}

func TestLimitLines(t *testing.T) {
	elsewhere := contained()
	elsewhere[1].Memory.Max = 1 << 29
	elsewhere[1].Memory.Tightest = snapshot.MemoryLevel{Used: 23 << 30, Total: 24 << 30, Limit: "memory of the\x1bhost"}
	for name, tt := range map[string]struct {
		newest []snapshot.Snapshot
		want   string
	}{
		"a pod": {contained(), `cpu: of 1.5 cores, cpu.max of /kubepods/pod1
memory: 1.0GiB of 2.0GiB, memory.max of /kubepods/pod1`},
		"the host is tighter": {elsewhere[1:], `memory: 1.0GiB of 2.0GiB, memory.max of /kubepods/pod1; budget 512.0MiB
memory: least left, 23.0GiB of 24.0GiB, memory of the` + "\ufffd" + `host`},
		"unknown": {[]snapshot.Snapshot{{Resource: snapshot.CPU}, {Resource: snapshot.Memory}, {Resource: snapshot.CPU, Unknown: "gone"}}, ""},
	} {
		if got := strings.Join(limitLines(tt.newest), "\n"); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, tt.want)
		}
	}
}

func TestWatchTellsOfLimitsWhenTheyChange(t *testing.T) {
	var b strings.Builder
	show := showLines(&b, false)
	first := client.State{SendTime: time.Date(2026, 11, 21, 18, 28, 2, 0, time.Local), Snapshots: contained()}
	gone, raised := first, first
	gone.Snapshots = []snapshot.Snapshot{{Signal: "memory", Resource: snapshot.Memory, Unknown: "gone"}}
	raised.Snapshots = contained()
	raised.Snapshots[1].Memory.Total = 4 << 30
	for _, state := range []client.State{first, first, gone, first, raised} {
		if err := show(state); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, "limits") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		"18:28:02  limits: cpu 1.5 cores, cpu.max of /kubepods/pod1; memory 2.0GiB, memory.max of /kubepods/pod1",
		"18:28:02  limits: memory 4.0GiB, memory.max of /kubepods/pod1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEvidenceNamesItsLimit(t *testing.T) {
	e := severity.Evidence{Text: "global_relative(5)", Finding: severity.Finding{
		Truth: severity.True, Value: 0.035, Bound: 0.05, HasValue: true, Unit: "ratio", Signal: "memory",
		Limit: pod, LimitBytes: 2 << 30, Age: 452 * time.Millisecond,
	}}
	if got, want := evidenceText(&e), "global_relative(5): memory 3.5% of 2.0GiB (memory.max of /kubepods/pod1), bound 5%, 452ms old"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	e.Text, e.Value, e.Bound, e.Unit = "exhaustion_within(30s)", 1.4, 30, "seconds"
	if got, want := evidenceText(&e), "exhaustion_within(30s): memory 1.4s to 2.0GiB (memory.max of /kubepods/pod1), bound 30s, 452ms old"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	e = severity.Evidence{Text: "any_overloaded(current)", Finding: severity.Finding{
		Truth: severity.True, Value: 0.6, Bound: 0.4, HasValue: true, Unit: "ratio", Signal: "cpu", Age: 452 * time.Millisecond,
	}}
	if got, want := evidenceText(&e), "any_overloaded(current): cpu overloaded 60% of the time, bound 40%, 452ms old"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// status and sample say whose limits were judged, and sample picks one of the signals of pressure.
func TestLimitsOfAServer(t *testing.T) {
	memory := &headroomv1.Snapshot{
		Resource: headroomv1.ResourceKind_RESOURCE_KIND_MEMORY, Signal: "memory", Value: proto.Float64(0.5), Limit: proto.Float64(0.9),
		Reading: &headroomv1.Snapshot_Memory{Memory: &headroomv1.MemoryReading{
			UsedBytes: proto.Int64(1 << 30), TotalBytes: proto.Int64(2 << 30), MaxBytes: proto.Int64(2 << 30), LimitSource: pod,
		}},
	}
	pressure := func(signal string) *headroomv1.Snapshot {
		return &headroomv1.Snapshot{
			Resource: headroomv1.ResourceKind_RESOURCE_KIND_PRESSURE, Signal: signal, Value: proto.Float64(0.5), Limit: proto.Float64(0.9),
			Reading: &headroomv1.Snapshot_Pressure{Pressure: &headroomv1.PressureReading{SomeRatio: proto.Float64(0.5)}},
		}
	}
	idle := &headroomv1.Status{State: headroomv1.LoadState_LOAD_STATE_IDLE}
	s := &scripted{
		status: &headroomv1.GetStatusResponse{Current: idle, Historical: idle},
		sample: &headroomv1.GetSampleResponse{Snapshots: []*headroomv1.Snapshot{memory}},
	}
	address := "--addr=" + s.start(t, healthv1.HealthCheckResponse_SERVING)
	line := "memory: 1.0GiB of 2.0GiB, " + pod + "\n"
	for _, command := range []string{"status", "sample"} {
		code, stdout, stderr := ask(command, address)
		if code != exitOK || strings.Count(stdout, line) != 1 {
			t.Errorf("%s: %d, %q\n%swant one line %s", command, code, stderr, stdout, line)
		}
	}
	s.sample.Snapshots = []*headroomv1.Snapshot{memory, memory}
	if _, stdout, _ := ask("sample", address); strings.Count(stdout, line) != 1 {
		t.Errorf("sample:\n%swant the line of the newest snapshot alone", stdout)
	}
	s.sample.Snapshots = []*headroomv1.Snapshot{pressure("pressure_cpu"), pressure("pressure_io")}
	_, stdout, _ := ask("sample", "pressure_io", address)
	if !strings.Contains(stdout, "pressure_io") || strings.Contains(stdout, "pressure_cpu") {
		t.Errorf("sample pressure_io:\n%s", stdout)
	}
}
