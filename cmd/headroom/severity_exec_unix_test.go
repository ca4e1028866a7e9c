//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// shell prints what the run of a command was told of the severity.
const shell = `echo "$HEADROOM_SEVERITY_LEVEL $HEADROOM_SEVERITY_FROM>$HEADROOM_SEVERITY_TO ` +
	`#$HEADROOM_SEVERITY_SEQUENCE $HEADROOM_SEVERITY_ENTRIES $HEADROOM_SEVERITY_TIME $HEADROOM_SEVERITY_EVIDENCE"`

func TestExecRunsOnEntering(t *testing.T) {
	at := noon.UTC().Format(time.RFC3339)
	const why = "global_relative(15): memory 12%, bound 15%, 300ms old"
	for _, tt := range []struct {
		name    string
		level   string
		updates []*headroomv1.WatchSeverityResponse // after those of pressed, which begin at level 2
		want    string
	}{
		{"in effect at the start", "1", nil, "2 0>2 #0 1 " + at + " " + why + "\n"},
		{"entered", "3", []*headroomv1.WatchSeverityResponse{
			{Severity: &headroomv1.Severity{Level: 3, Sequence: 10, MaxLevel: 3}, Transition: step(2, 3, 10)},
		}, "3 2>3 #10 1 " + at + " " + why + "\n"},
		{"normal again", "0", []*headroomv1.WatchSeverityResponse{
			{Severity: &headroomv1.Severity{Level: 1, Sequence: 10, MaxLevel: 3}, Transition: step(2, 1, 10)},
			{Severity: &headroomv1.Severity{Level: 0, Sequence: 11, MaxLevel: 3}, Transition: step(1, 0, 11)},
		}, "0 1>0 #11 1 " + at + " " + why + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := pressed()
			if tt.name == "in effect at the start" {
				s.updates = s.updates[:1]
			}
			s.updates = append(s.updates, tt.updates...)
			code, stdout, stderr := ask("severity", s.serving(t), "--exec", tt.level, "-n1", "--", "sh", "-c", shell)
			if code != exitOK || stdout != tt.want || stderr != "" {
				t.Errorf("exits with %d, prints %q and says %q; want 0, %q", code, stdout, stderr, tt.want)
			}
		})
	}
}

// Entries while the command runs lead to one more run, which is told of the newest.
func TestExecRunsOneAtATime(t *testing.T) {
	s := pressed()
	s.updates = s.updates[:1] // in effect: the first run, which waits for the file
	for n := range int64(3) {
		s.updates = append(s.updates,
			&headroomv1.WatchSeverityResponse{Severity: &headroomv1.Severity{MaxLevel: 3}, Transition: step(2, 1, 8+2*n)},
			&headroomv1.WatchSeverityResponse{Severity: &headroomv1.Severity{MaxLevel: 3}, Transition: step(1, 2, 9+2*n)},
		)
	}
	s.updatesEnd = status.Error(codes.Unavailable, "gone") // of which headroom tells when all before was taken
	stdout, stderr := &seeing{text: "run", seen: make(chan struct{})}, &seeing{text: "stale", seen: make(chan struct{})}
	s.beforeUpdate = func(i int) {
		if i == 1 {
			<-stdout.seen
		}
	}
	file := filepath.Join(t.TempDir(), "go")
	var wrote error
	var wait sync.WaitGroup
	wait.Go(func() {
		<-stderr.seen
		wrote = os.WriteFile(file, nil, 0o600)
	})
	const command = `echo "run for $HEADROOM_SEVERITY_ENTRIES, #$HEADROOM_SEVERITY_SEQUENCE"; until test -e "$0"; do sleep 0.01; done`
	code := run(t.Context(), []string{"severity", s.serving(t), "--exec", "2", "-n2", "--", "sh", "-c", command, file}, stdout, stderr)
	wait.Wait()
	if want := "run for 1, #0\nrun for 3, #13\n"; code != exitOK || stdout.String() != want || wrote != nil {
		t.Errorf("exits with %d and prints %q, want 0 and %q (%v)", code, stdout, want, wrote)
	}
}

// A level that stays in effect while the level moves above it is not entered again.
func TestExecRunsOncePerEntry(t *testing.T) {
	s := pressed()
	s.updates = s.updates[:1]
	for i, levels := range [][2]int32{{2, 1}, {1, 2}, {2, 1}, {1, 0}, {0, 1}} {
		s.updates = append(s.updates, &headroomv1.WatchSeverityResponse{
			Severity: &headroomv1.Severity{MaxLevel: 3}, Transition: step(levels[0], levels[1], int64(8+i)),
		})
	}
	out := &seeing{text: "#0", seen: make(chan struct{})}
	s.beforeUpdate = func(i int) {
		if i == 1 {
			<-out.seen
		}
	}
	var errs strings.Builder
	code := run(t.Context(), []string{
		"severity", s.serving(t), "--exec", "1", "-n2", "--", "sh", "-c", `echo "#$HEADROOM_SEVERITY_SEQUENCE x$HEADROOM_SEVERITY_ENTRIES"`,
	}, out, &errs)
	if want := "#0 x1\n#12 x1\n"; code != exitOK || out.String() != want || errs.Len() > 0 {
		t.Errorf("exits with %d, prints %q and says %q, want 0 and %q", code, out, &errs, want)
	}
}

func TestExecReportsWhatFails(t *testing.T) {
	s := pressed()
	address := s.serving(t)
	code, _, stderr := ask("severity", address, "--exec", "1", "-n1", "--", "sh", "-c", "exit 3")
	if code != exitOK || stderr != "headroom: sh: exit status 3\n" {
		t.Errorf("a run that fails: exits with %d and says %q", code, stderr)
	}
	if code, _, stderr := ask("severity", address, "--exec", "1", "--", "no-such-command"); code != exitNotFound || stderr == "" {
		t.Errorf("no such command: exits with %d and says %q, want %d", code, stderr, exitNotFound)
	}
	if code, _, stderr := ask("severity", address, "--exec", "1", "--", t.TempDir()); code != exitNotExecutable || stderr == "" {
		t.Errorf("a folder: exits with %d and says %q, want %d", code, stderr, exitNotExecutable)
	}
	s.updates[0].Severity.MaxLevel = 1
	s.severityErr = status.Error(codes.PermissionDenied, "no")
	if code, _, _ := ask("severity", address, "--exec", "1", "--", "true"); code != exitDenied {
		t.Errorf("denied: exits with %d, want %d", code, exitDenied)
	}
}

func TestExecWarnsOfALevelThatThereIsNot(t *testing.T) {
	s := pressed()
	s.updates[2] = &headroomv1.WatchSeverityResponse{Severity: &headroomv1.Severity{}, Transition: step(1, 5, 9)}
	_, _, stderr := ask("severity", s.serving(t), "--exec", "5", "-n1", "--", "true")
	if want := "headroom: warning: level 5 is never entered, the highest is 3\n"; stderr != want {
		t.Errorf("says %q, want %q", stderr, want)
	}
}
