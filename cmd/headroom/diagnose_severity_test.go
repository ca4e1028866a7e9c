package main

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/client/diagnose"
	"github.com/headroom-rpc/headroom/diagnostics"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// The trace and the goroutines of a program that runs on are dumped when the severity of the machine rises, by the
// server's own transition.
func TestTraceIsDumpedWhenTheSeverityRises(t *testing.T) {
	var used atomic.Int64
	const total = 100 << 20
	snapshotter, err := snapshot.New(snapshot.Config{
		Scope: snapshot.ScopeHost, CPUInterval: 50 * time.Millisecond, MemoryInterval: 50 * time.Millisecond,
		Sources: snapshot.Sources{
			CPU: func(context.Context) (snapshot.CPUReading, error) {
				return snapshot.CPUReading{Used: 0.1, Cores: 2, Source: "script"}, nil
			},
			Memory: func(context.Context) (snapshot.MemoryReading, error) {
				return snapshot.MemoryReading{Used: used.Load(), Total: total, Definition: "script", Source: "script"}, nil
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	lis := bufconn.Listen(1 << 20)
	me := server.Identity{Name: "me", Role: server.RoleWorker, UID: -1, PID: -1, Local: true}
	srv, err := server.New(server.Config{
		Snapshotter: snapshotter, Version: "test", Listeners: []*server.Listener{server.NewListener(lis, me)},
		Levels:      []severity.Level{{Enter: severity.GlobalRelative(50)}},
		Diagnostics: server.DiagnosticsConfig{Allow: []string{"trace", "goroutines"}, Dir: t.TempDir()},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	c, err := client.Dial(t.Context(), client.WithDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var session *diagnose.Session
	for session == nil {
		session, err = diagnose.Start(t.Context(), c, diagnose.Config{Task: "t", Recorders: []string{"trace", "goroutines"}})
		if err != nil && client.Reason(err) != "STARTING" {
			t.Fatal(err)
		}
	}
	sealed := func() map[string]string {
		all, err := c.Artifacts(t.Context(), client.ArtifactQuery{Task: "t"})
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]string{}
		for _, a := range all.List {
			if a.Sealed {
				ids[a.Recorder] = a.ID
			}
		}
		return ids
	}
	// The memory in use is that of the other level as soon as one is entered, so that the severity rises again and
	// again: the session may begin to watch after it has risen.
	watching, enough := context.WithTimeout(t.Context(), time.Minute)
	defer enough()
	for update := range c.WatchSeverity(watching, client.SeverityOptions{}) {
		if len(sealed()) == 2 {
			break
		}
		used.Store(total * []int64{99, 10}[min(update.Severity.Level, 1)] / 100)
	}
	if len(sealed()) < 2 {
		t.Fatalf("%v is dumped, want the trace and the goroutines", sealed())
	}
	for recorder, want := range map[string]string{diagnostics.RecorderTrace: "go 1.", diagnostics.RecorderGoroutines: "goroutine "} {
		var content bytes.Buffer
		if _, err := c.Download(t.Context(), sealed()[recorder], client.FormStored, 0, &content); err != nil || !bytes.Contains(content.Bytes(), []byte(want)) {
			t.Errorf("%s holds %.40q, %v", recorder, content.Bytes(), err)
		}
	}
	if _, err := session.Finish(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
