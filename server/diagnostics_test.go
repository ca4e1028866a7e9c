package server_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

func TestDiagnosticsAreOffByDefault(t *testing.T) {
	f := start(t, settings{})
	client := headroomv1.NewDiagnosticsServiceClient(f.conn)
	_, err := client.ListArtifacts(t.Context(), &headroomv1.ListArtifactsRequest{})
	checkError(t, err, codes.Unimplemented, "DIAGNOSTICS_OFF")
	_, _, err = record(t.Context(), client, &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"memory"}})
	checkError(t, err, codes.Unimplemented, "DIAGNOSTICS_OFF")
}

func TestDiagnosticsConfigFaults(t *testing.T) {
	_, err := server.New(server.Config{Diagnostics: server.DiagnosticsConfig{
		Allow: []string{"ebpf"}, Always: []string{"nothing"}, TTL: time.Second, MemoryInterval: time.Millisecond, URLTTL: 2 * time.Hour,
		MaxBytes: -1, MaxProfiles: 1001, MaxSeverity: -1, MaxRecordings: -1, MaxTransfers: 100_001,
	}})
	for _, want := range []string{"ebpf", "nothing", "Dir", "TTL", "MemoryInterval", "URLTTL", "MaxBytes", "MaxProfiles", "MaxSeverity", "MaxRecordings", "MaxTransfers"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}
