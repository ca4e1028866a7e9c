package server_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/server"
)

func TestPermitConfigReportsEveryFault(t *testing.T) {
	_, err := server.New(server.Config{Permits: server.PermitConfig{
		Resources: []permit.Resource{{Name: "host"}, {Name: "api", Law: "aimd"}},
		TTL:       time.Millisecond,
		Grace:     time.Hour,
		Heartbeat: time.Minute,
		Host: server.HostPermits{Severity: []server.SeverityRule{
			{Action: server.SeverityCap, Limit: 1},
			{Level: 1, Action: 9},
			{Level: 2, Action: server.SeverityCap, Limit: 1, Ratio: 0.5},
			{Level: 3, Action: server.SeverityCap, Ratio: math.NaN()},
			{Level: 4, Action: server.SeverityDrain, Limit: 3},
			{Level: 5, Action: server.SeverityDrain, CancelAfter: time.Second},
			{Level: 6, Action: server.SeverityCancel, CancelAfter: -time.Second},
		}},
	}})
	if err == nil {
		t.Fatal("New = nil, want an error")
	}
	for _, want := range []string{
		"Resources[0]", "Resources[1]: Law", "TTL: 1ms", "Grace: 1h", "Heartbeat: 1m", "Severity[0]: Level: 0",
		"Severity[1]: Action: SeverityAction(9)", "Severity[2]: Limit and Ratio", "Severity[3]: Ratio: NaN",
		"Severity[4]: Limit and Ratio", "Severity[5]: CancelAfter", "Severity[6]: CancelAfter: -1s",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New = %q, want it to name %s", err, want)
		}
	}
}

func TestPermitConfigAccepts(t *testing.T) {
	_, err := server.New(server.Config{Permits: server.PermitConfig{
		Resources: []permit.Resource{{Name: "api", Law: "fixed", Limit: 3}, {Name: "db"}},
		TTL:       time.Second,
		Host: server.HostPermits{Severity: []server.SeverityRule{
			{Level: 1, Action: server.SeverityCap, Ratio: 0.5},
			{Level: 2, Action: server.SeverityCap, Limit: 1},
			{Level: 3, Action: server.SeverityDrain},
			{Level: 3, Action: server.SeverityCancel, CancelAfter: time.Minute},
		}},
	}})
	if err == nil || strings.Contains(err.Error(), "Permits") {
		t.Errorf("New = %v, want faults of other fields alone", err)
	}
}
