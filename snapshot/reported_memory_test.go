package snapshot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

func TestReportedMemory(t *testing.T) {
	r := newReports(t, 10, 10)
	small, large := snapshot.ReportedMemory{Used: 1, Max: 10}, snapshot.ReportedMemory{Used: 9, Max: 10}
	put(t, r, time.Second, "a", "x", snapshot.Report{Memory: small, HasMemory: true, TTL: 2 * time.Second})
	put(t, r, 2*time.Second, "b", "x", snapshot.Report{Memory: large, HasMemory: true, TTL: time.Minute})
	for _, tt := range []struct {
		name           string
		now            time.Duration
		identity, from string
		want           snapshot.ReportedMemory
		at             time.Duration
		ok             bool
	}{
		{"its own", 2 * time.Second, "a", "x", small, time.Second, true},
		{"of another identity under the same name", 2 * time.Second, "b", "x", large, 2 * time.Second, true},
		{"just before it expires", 3*time.Second - 1, "a", "x", small, time.Second, true},
		{"expired", 3 * time.Second, "a", "x", snapshot.ReportedMemory{}, 0, false},
		{"never reported", 2 * time.Second, "a", "y", snapshot.ReportedMemory{}, 0, false},
	} {
		got, at, ok := r.Memory(tt.now, snapshot.Reporter{Identity: tt.identity, Name: tt.from})
		if got != tt.want || at != tt.at || ok != tt.ok {
			t.Errorf("%s: Memory = %v, %v, %v; want %v, %v, %v", tt.name, got, at, ok, tt.want, tt.at, tt.ok)
		}
	}
	put(t, r, 2*time.Second, "b", "x", snapshot.Report{TTL: time.Minute})
	if _, _, ok := r.Memory(2*time.Second, snapshot.Reporter{Identity: "b", Name: "x"}); ok {
		t.Error("the memory outlives a report without it")
	}
}

func TestReportedMemoryOutOfRange(t *testing.T) {
	r := newReports(t, 10, 10)
	from := snapshot.Reporter{Identity: "a", Name: "x"}
	_, err := r.Put(0, from, snapshot.Report{Memory: snapshot.ReportedMemory{Used: -1}, HasMemory: true})
	for _, want := range []string{"Memory.Used: -1 bytes is negative", "Memory.Max: 0 bytes is less than 1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Put = %v, want it to say %q", err, want)
		}
	}
	if _, err := r.Put(0, from, snapshot.Report{Memory: snapshot.ReportedMemory{Max: 1}, HasMemory: true}); err != nil {
		t.Errorf("Put of 0 of 1 bytes = %v, want nil", err)
	}
}
