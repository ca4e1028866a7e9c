package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headroom-rpc/headroom/diagnostics"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
)

// documented returns the rows of the table in docs/errors.md: reason to code and details.
func documented(t *testing.T) map[string][2]string {
	t.Helper()
	text, err := os.ReadFile("../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][2]string)
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[1]) == "reason" {
			continue
		}
		rows[strings.TrimSpace(cells[1])] = [2]string{strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])}
	}
	return rows
}

// wireName returns the name of a code as the protocol writes it.
func wireName(code codes.Code) string {
	var name strings.Builder
	for i, r := range code.String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(r)
	}
	if code == codes.Canceled {
		return "CANCELLED" // its spelling in Go differs
	}
	return strings.ToUpper(name.String())
}

func TestErrorsAreDocumented(t *testing.T) {
	rows := documented(t)
	for reason, code := range reasonCodes {
		row, ok := rows[reason]
		if !ok {
			t.Errorf("docs/errors.md has no row for %s", reason)
			continue
		}
		if row[0] != wireName(code) {
			t.Errorf("docs/errors.md gives %s the code %s, want %s", reason, row[0], wireName(code))
		}
	}
	for reason := range rows {
		if _, ok := reasonCodes[reason]; !ok {
			t.Errorf("docs/errors.md has a row for %s, which the server never sends", reason)
		}
	}
}

func TestToStatus(t *testing.T) {
	rows := documented(t)
	invalid := &invalidError{}
	invalid.add("duration", "too long")
	seen := make(map[string]bool)
	for _, tt := range []struct {
		err    error
		reason string
	}{
		{invalid, reasonInvalidFields},
		{&unknownSignalError{name: "queue"}, reasonUnknownSignal},
		{errStarting, reasonStarting},
		{snapshot.ErrInactive, reasonStarting},
		{errDraining, reasonDraining},
		{&tooLargeError{max: 1}, reasonTooLarge},
		{&subscribersError{max: 1}, reasonSubscribers},
		{&slowReaderError{timeout: time.Second}, reasonSlowReader},
		{snapshot.ErrReporters, reasonReporters},
		{errReportsDisabled, reasonReportsDisabled},
		{&subscribersError{max: 1, processes: true}, reasonSubscribers},
		{errInstanceChanged, reasonInstanceChanged},
		{severity.ErrEvicted, reasonHistoryEvicted},
		{&processError{pid: 7}, reasonNoProcess},
		{&processError{pid: 7, ended: true}, reasonProcessEnded},
		{&reporterError{name: "x"}, reasonReporterSilent},
		{errReporterChanged, reasonReporterChanged},
		{&connectionLimitError{}, reasonConnections},
		{&callLimitError{}, reasonCalls},
		{&deniedError{need: RoleWorker, identity: Identity{Role: RoleReader}}, reasonRoleRequired},
		{&credentialError{reason: reasonCredentialsRequired}, reasonCredentialsRequired},
		{&credentialError{reason: reasonTokenInvalid}, reasonTokenInvalid},
		{&credentialError{reason: reasonTokenExposed}, reasonTokenExposed},
		{&unknownMethodError{method: "/x/y"}, reasonUnknownMethod},
		{&resourceError{name: "api"}, reasonNoResource},
		{&resourceError{name: "api", identity: "uid:1"}, reasonNotAllowed},
		{&quotaError{}, reasonNotAllowed},
		{permit.ErrNotOwner, reasonNotOwned},
		{&permit.SessionsError{Most: 16384}, reasonSessions},
		{&permit.SessionsError{Identity: "uid:1", Most: 256}, reasonSessions},
		{&sessionError{name: "0123456789abcdef"}, reasonNoSession},
		{&silentError{after: time.Second}, reasonSilent},
		{errReplaced, reasonReplaced},
		{errDead, reasonDead},
		{&kickedError{reason: "x"}, reasonKicked},
		{&waitersError{limit: 1}, reasonWaiters},
		{&waitError{resource: "api", count: 1}, reasonWaitTooLong},
		{&waitError{resource: "api", count: 9, limit: 8}, reasonWaitTooLong},
		{&waitError{resource: "api", count: 1, wait: time.Hour}, reasonWaitTooLong},
		{&permitLimitError{limit: 1, field: "MaxPermits"}, reasonPermits},
		{&lostError{id: "x"}, reasonPermitLost},
		{&lawError{resource: "host", law: "twostation"}, reasonFollowsLaw},
		{&taskError{id: "x"}, reasonNoTask},
		{&taskError{id: "x", ended: true}, reasonTaskEnded},
		{task.ErrNoProcess, reasonNoTaskProcess},
		{task.ErrNoSample, reasonNoSample},
		{&groupError{path: "/x"}, reasonNoGroup},
		{&taskLimitError{most: 1}, reasonTasks},
		{&taskLimitError{most: 1, identity: "uid:1"}, reasonTasks},
		{errNoLimit, reasonNoTaskLimit},
		{errDiagnosticsOff, reasonDiagnosticsOff},
		{&artifactError{id: "x"}, reasonNoArtifact},
		{&rangeError{offset: 2, size: 1}, reasonRange},
		{&formError{name: "x", why: "y"}, reasonForm},
		{diagnostics.ErrNotSealed, reasonNotSealed},
		{diagnostics.ErrDamaged, reasonDamaged},
		{&recordingsError{what: "recordings", field: "MaxRecordings", limit: 1}, reasonRecordings},
		{&profilesError{refused: []diagnostics.Refusal{{Name: "trace", Reason: diagnostics.Busy}}}, reasonProfiles},
		{&storedError{id: "x", err: diagnostics.ErrTooLarge}, reasonArtifactTooLarge},
		{diagnostics.ErrFull, reasonArtifactsFull},
		{&recorderError{name: "trace"}, reasonNotAllowed},
		{context.DeadlineExceeded, reasonDeadline},
		{context.Canceled, reasonCancelled},
		{errors.New("a file of ours is broken"), reasonInternal},
		{status.Error(codes.Internal, "a codec of ours is broken"), reasonInternal},
	} {
		st := status.Convert(toStatus(t.Context(), fmt.Errorf("wrapped: %w", tt.err)))
		if st.Code() != reasonCodes[tt.reason] {
			t.Errorf("%v: code %v, want %v", tt.err, st.Code(), reasonCodes[tt.reason])
		}
		var got string
		for _, detail := range st.Details() {
			if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == "headroom.v1" {
				got = info.GetReason()
				continue
			}
			kind := strings.TrimPrefix(fmt.Sprintf("%T", detail), "*errdetails.")
			if !strings.Contains(rows[tt.reason][1], kind) {
				t.Errorf("%v: has %s, which docs/errors.md does not tell of", tt.err, kind)
			}
			if retry, ok := detail.(*errdetails.RetryInfo); ok && retry.GetRetryDelay().AsDuration() <= 0 {
				t.Errorf("%v: a retry delay of %v, want more than 0", tt.err, retry.GetRetryDelay().AsDuration())
			}
		}
		if want := strings.FieldsFunc(rows[tt.reason][1], func(r rune) bool { return r == ',' }); len(st.Details()) != 1+len(want) {
			t.Errorf("%v: %d details, want ErrorInfo and %q", tt.err, len(st.Details()), want)
		}
		if got != tt.reason {
			t.Errorf("%v: reason %q, want %q", tt.err, got, tt.reason)
		}
		if strings.Contains(st.Message(), "of ours") {
			t.Errorf("%v: the text %q tells the cause", tt.err, st.Message())
		}
		seen[tt.reason] = true
	}
	for reason := range reasonCodes {
		if !seen[reason] {
			t.Errorf("no error leads to %s", reason)
		}
	}
}

func TestToStatusPassesOthers(t *testing.T) {
	if err := toStatus(t.Context(), nil); err != nil {
		t.Errorf("toStatus(nil) = %v", err)
	}
	other := status.Error(codes.NotFound, "unknown service")
	if got := status.Convert(toStatus(t.Context(), other)); got.Code() != codes.NotFound || got.Message() != "unknown service" {
		t.Errorf("the status of another service became %v", got)
	}
}

func TestInvalidErrorIsBounded(t *testing.T) {
	invalid := &invalidError{}
	for i := range 100 {
		invalid.add(fmt.Sprintf("signals[%d].name", i), "is bad")
	}
	if text := invalid.Error(); len(text) > 512 || !strings.HasSuffix(text, "and 92 more") {
		t.Errorf("the text of 100 faults is %q, want it cut after 8", text)
	}
}

// A refusal because of a bound names the bound that binds, its value and its setting.
func TestRefusalsNameTheSetting(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want []string
	}{
		{&permit.SessionsError{Most: 16384}, []string{"16384", "the server", "(max-sessions)"}},
		{&permit.SessionsError{Identity: "uid:1", Most: 256}, []string{"uid:1", "256", "(max-sessions-per-identity)"}},
		{errDiagnosticsOff, []string{"diagnostics-allow"}},
	} {
		text := status.Convert(toStatus(t.Context(), tt.err)).Message()
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%v is told as %q, want %q in it", tt.err, text, want)
			}
		}
	}
}
