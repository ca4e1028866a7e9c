package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
)

// plainTop returns the screen without styles and without blanks at the ends of lines.
func plainTop(m *topModel) string {
	lines := strings.Split(plain(m.View().Content), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

// TestTopScreens compares screens with those in testdata/top; `go test ./cmd/headroom -run TopScreens -update` writes them.
func TestTopScreens(t *testing.T) {
	stale := busyState()
	stale.Stale, stale.Cause = true, status.Error(codes.Unavailable, "connection\x1b refused")
	for name, m := range map[string]*topModel{
		"80x24":       topOf(80, 24, busyNews()),
		"80x24-tasks": topOf(80, 24, busyNews(), press("tab"), press("down")),
		"60x15":       topOf(60, 15, busyNews()),
		"200x50":      topOf(200, 50, busyNews(), press("tab")),
		"help":        topOf(60, 15, busyNews(), press("?")),
		"why":         topOf(80, 24, busyNews(), press("tab"), press("down"), press("w")),
		"filter":      topOf(80, 24, busyNews(), press("/"), press("z")),
		"stale":       topOf(80, 24, busyNews(), topNews{now: topNow.Add(time.Minute), clock: topClock + time.Minute, state: &stale}),
		"waiting":     topOf(60, 15),
		"once":        topOf(80, 0, busyNews()),
	} {
		t.Run(name, func(t *testing.T) {
			path, got := filepath.Join("testdata", "top", name+".txt"), plainTop(m)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("shows\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Whatever is shown, it fills the screen and no more, and brings no control character but those of styles.
func TestTopFitsEveryTerminal(t *testing.T) {
	wide := busyNews()
	wide.tasks.all[0].Info.Name = strings.Repeat("数据", 40)
	wide.permits.resources[1].Binding = strings.Repeat("a very long reason ", 20)
	wide.permits.sessions[0].Client = "\x1b]0;x\a" + strings.Repeat("\u202e", 10)
	wide.state.Current.Signals = append(wide.state.Current.Signals, snapshot.SignalStatus{
		Signal: strings.Repeat("s\n", 40), Resource: snapshot.Custom, State: snapshot.StateUnknown,
		Value: math.Inf(1), Bound: math.NaN(), HasValue: true, Reason: "\r\n",
	})
	wide.severity.Severity.Evidence[0].Text = strings.Repeat("memory ", 50)
	for _, width := range []int{1, 2, 20, 60, 80, 100, 120, 200} {
		for _, height := range []int{1, 2, 3, 8, 15, 20, 24, 34} {
			m := topOf(width, height, wide)
			for _, keys := range []string{"", "tab end", "w", "w ?", "? / x"} {
				for key := range strings.FieldsSeq(keys) {
					m.Update(press(key))
				}
				content := m.View().Content
				lines := strings.Split(content, "\n")
				if len(lines) != height {
					t.Fatalf("%dx%d %q: %d lines", width, height, keys, len(lines))
				}
				for _, line := range lines {
					if w := lipgloss.Width(line); w > width {
						t.Fatalf("%dx%d %q: %d cells in %q", width, height, keys, w, line)
					}
					if text := plain(line); clean(text) != text {
						t.Fatalf("%dx%d %q: shows %q", width, height, keys, text)
					}
				}
			}
		}
	}
}

func TestTopRefusesWhatIsNoTerminal(t *testing.T) {
	code, stdout, stderr := ask("top", "--addr=unix:///nowhere")
	if code != exitUsage || stdout != "" || !strings.Contains(stderr, "the output is no terminal; --once prints one frame") {
		t.Errorf("exits with %d, prints %q and says %q", code, stdout, stderr)
	}
}

func TestTopOnce(t *testing.T) {
	idle := &headroomv1.Status{State: headroomv1.LoadState_LOAD_STATE_IDLE}
	s := &scripted{
		status: &headroomv1.GetStatusResponse{Current: idle, Historical: idle},
		sample: &headroomv1.GetSampleResponse{},
		states: []*headroomv1.WatchSnapshotsResponse{{
			Started: &headroomv1.Started{InstanceId: "a", ServerVersion: "9\x1b[2J"}, Current: idle, Historical: idle,
		}},
		severity: &headroomv1.GetSeverityResponse{Severity: &headroomv1.Severity{MaxLevel: 3}, InstanceId: "a"},
		permits:  &leasing{pages: twoPages()},
	}
	code, stdout, stderr := ask("top", "--once", "--addr="+s.start(t, healthv1.HealthCheckResponse_SERVING))
	if code != exitOK || stderr != "" || strings.Contains(stdout, "\x1b") {
		t.Errorf("exits with %d, says %q and prints %q", code, stderr, stdout)
	}
	for _, want := range []string{"headroom  idle", "9\ufffd[2J", "0 of 3, normal", "api crawler", "unknown service"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	code, stdout, _ = ask("top", "--once", "--timeout=5s", "--addr=unix:///nowhere")
	if code != exitUnknown || stdout != "" {
		t.Errorf("no server: exits with %d and prints %q, want %d", code, stdout, exitUnknown)
	}
}
