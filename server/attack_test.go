package server

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// handlerCount is a stats handler that knows how many calls are being handled.
type handlerCount struct{ now, most, all atomic.Int64 }

func (*handlerCount) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*handlerCount) HandleConn(context.Context, stats.ConnStats)                       {}
func (*handlerCount) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (h *handlerCount) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.Begin:
		h.all.Add(1)
		now := h.now.Add(1)
		for most := h.most.Load(); now > most && !h.most.CompareAndSwap(most, now); most = h.most.Load() {
		}
	case *stats.End:
		h.now.Add(-1)
	}
}

// honest calls the server over a connection of its own until stop is called, which reports the first call
// that was not answered.
func honest(t *testing.T, p *probeServer) (stop func()) {
	t.Helper()
	cc := p.dial(t)
	if err := checkHealth(t, cc); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		calls := 0
		for ctx.Err() == nil {
			call, end := context.WithTimeout(context.Background(), callTimeout)
			_, err := healthpb.NewHealthClient(cc).Check(call, &healthpb.HealthCheckRequest{})
			end()
			if err != nil {
				done <- fmt.Errorf("call %d: %w", calls, err)
				return
			}
			calls++
			time.Sleep(time.Millisecond)
		}
		done <- nil
	}()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("honest client: %v", err)
		}
		if err := checkHealth(t, cc); err != nil {
			t.Errorf("honest client after the attack: %v", err)
		}
	}
}

func TestAttackFloods(t *testing.T) {
	const frames = 20_000
	type outcome struct {
		cut    bool          // the server closes the connection
		resets int64         // and counts it as cut for resets
		code   http2.ErrCode // and says so
	}
	for _, tt := range []struct {
		name  string
		frame func(a *attacker, i int) error
		want  outcome
	}{
		{"rapid reset", func(a *attacker, _ int) error {
			id, err := a.open(headers(checkPath))
			if err != nil {
				return err
			}
			return a.framer.WriteRSTStream(id, http2.ErrCodeCancel)
		}, outcome{cut: true, resets: 1}},
		{"rapid reset of unknown methods", func(a *attacker, _ int) error {
			id, err := a.open(headers("/no.Such/Method"))
			if err != nil {
				return err
			}
			return a.framer.WriteRSTStream(id, http2.ErrCodeCancel)
		}, outcome{}}, // answered before the reset or not, as it happens
		{"made to reset: window update of 0", func(a *attacker, _ int) error {
			id, err := a.open(headers(checkPath))
			if err != nil {
				return err
			}
			return a.framer.WriteWindowUpdate(id, 0)
		}, outcome{cut: true, resets: 1}},
		{"made to reset: window overflow", func(a *attacker, _ int) error {
			id, err := a.open(headers(checkPath))
			if err != nil {
				return err
			}
			a.framer.WriteWindowUpdate(id, 1<<31-1)
			return a.framer.WriteRSTStream(id, http2.ErrCodeCancel)
		}, outcome{cut: true}},
		{"PING", func(a *attacker, _ int) error { return a.framer.WritePing(false, [8]byte{}) },
			outcome{cut: true, code: http2.ErrCodeEnhanceYourCalm}},
		{"SETTINGS", func(a *attacker, _ int) error { return a.framer.WriteSettings() }, outcome{}},
		{"PRIORITY on itself", func(a *attacker, i int) error {
			return a.framer.WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: uint32(2*i + 1)})
		}, outcome{}},
		{"WINDOW_UPDATE of no stream", func(a *attacker, i int) error { return a.framer.WriteWindowUpdate(uint32(2*i+1), 1) }, outcome{}},
		{"headers without end", func(a *attacker, i int) error {
			if i == 0 {
				return a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(headers(checkPath))})
			}
			return a.framer.WriteContinuation(1, false, block(padding(1)))
		}, outcome{cut: true}},
		{"headers of 1 MiB", func(a *attacker, _ int) error {
			_, err := a.open(append(headers(checkPath), padding(1<<10)...))
			return err
		}, outcome{cut: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			handlers := &handlerCount{}
			p := startProbe(t, listenLoopback(t), probeConfig{options: []grpc.ServerOption{grpc.StatsHandler(handlers)}})
			stop := honest(t, p)
			a := newAttacker(t, p)
			for i := range frames {
				if a.isGone() || tt.frame(a, i) != nil {
					break
				}
			}
			if tt.want.cut {
				eventually(t, "the connection is closed", a.isGone)
			}
			stop()
			a.mu.Lock()
			if tt.want.code != 0 && a.goAway != tt.want.code {
				t.Errorf("GOAWAY says %v, want %v", a.goAway, tt.want.code)
			}
			a.mu.Unlock()
			if got := p.guard.counts().cutForResets; tt.want.resets != 0 && got != tt.want.resets {
				t.Errorf("%d connections were cut for resets, want %d", got, tt.want.resets)
			}
			if got, most := handlers.most.Load(), int64(64+1); got > most { // and the honest client's
				t.Errorf("%d handlers ran at once, want at most %d", got, most)
			}
			if tt.want.resets != 0 && handlers.all.Load() > frames/2 {
				t.Errorf("%d calls of the attacker were handled before it was cut, want few", handlers.all.Load())
			}
		})
	}
}

func TestAttackOneByteFrames(t *testing.T) {
	p := startProbe(t, listenLoopback(t), probeConfig{})
	stop := honest(t, p)
	a := newAttacker(t, p)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	var streams []uint32
	for range 64 {
		id, err := a.open(headers(checkPath))
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, id)
		if err := a.framer.WriteData(id, false, []byte{0, 0, 3, 0, 0}); err != nil { // a message of 192 KiB
			t.Fatal(err)
		}
	}
	for range 2000 {
		for _, id := range streams {
			if err := a.framer.WriteData(id, false, []byte{0}); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	if grown := int64(heap()) - int64(before); grown > 32<<20 {
		t.Errorf("%d one-byte frames grew the heap by %d bytes, want at most 32 MiB", 64*2000, grown)
	}
}

func TestMalformedCallsAreRefused(t *testing.T) {
	var handled atomic.Int64
	watch := func(grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]) error {
		handled.Add(1)
		return nil
	}
	p := startProbe(t, listenLoopback(t), probeConfig{watch: watch})
	const path = headroomv1.StatusService_WatchSnapshots_FullMethodName
	without := func(name string) []string {
		fields := headers(path)
		for i := 0; i < len(fields); i += 2 {
			if fields[i] == name {
				return append(fields[:i:i], fields[i+2:]...)
			}
		}
		t.Fatalf("no header %s", name)
		return nil
	}
	empty := framed(0, nil)
	a := newAttacker(t, p)
	for _, tt := range []struct {
		name    string
		fields  []string
		message []byte
		want    string
	}{
		{"no slash", headers(path[1:]), empty, "12"},
		{"doubled slash", headers("/" + path), empty, "12"},
		{"slash at the end", headers(path + "/"), empty, "12"},
		{"escape", headers(strings.ReplaceAll(path, "/W", "%2FW")), empty, "12"},
		{"escaped letter", headers(strings.ReplaceAll(path, "Watch", "%57atch")), empty, "12"},
		{"dots", headers("/headroom.v1.Nothing/.." + path), empty, "12"},
		{"query", headers(path + "?x"), empty, "12"},
		{"empty", headers(""), empty, "12"},
		{"slash alone", headers("/"), empty, "12"},
		{"unknown service", headers("/no.Such/Method"), empty, "12"},
		{"no authority", without(":authority"), empty, "13"},
		{"two hosts", append(headers(path), "host", "a", "host", "b"), empty, "13"},
		{"GET", append([]string{":method", "GET"}, headers(path)[2:]...), empty, "13"},
		{"no content type", without("content-type"), empty, "3"},
		{"headers of 18 KiB", append(headers(path), padding(18)...), empty, "FRAME_SIZE_ERROR"},
		{"message of 1 MiB announced", headers(path), []byte{0, 0, 16, 0, 0}, "8"},
		{"gzip", append(headers(path), "grpc-encoding", "gzip"), framed(1, nil), "12"},
	} {
		if got := a.answer(a.call(tt.fields, tt.message)); got != tt.want {
			t.Errorf("%s: status %s, want %s", tt.name, got, tt.want)
		}
	}
	if got := handled.Load(); got != 0 {
		t.Errorf("handlers ran %d times, want 0", got)
	}
	if got := a.answer(a.call(headers(path), empty)); got != "0" || handled.Load() != 1 {
		t.Errorf("a good call on the same connection: status %s, handled %d times, want 0 and once", got, handled.Load())
	}
}

func TestHonestClientsAreNotCut(t *testing.T) {
	request, err := proto.Marshal(&healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("completed calls that are reset afterwards", func(t *testing.T) {
		p := startProbe(t, listenLoopback(t), probeConfig{})
		a := newAttacker(t, p)
		for range 3 * resetLeast {
			id := a.call(headers(checkPath), framed(0, request))
			if got := a.answer(id); got != "0" {
				t.Fatalf("stream %d: status %s, want 0", id, got)
			}
			if err := a.framer.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
				t.Fatal(err)
			}
		}
		if got := a.answer(a.call(headers(checkPath), framed(0, request))); got != "0" {
			t.Errorf("status %s, want 0", got)
		}
	})
	for _, tt := range []struct {
		name              string
		complete, cancels int
		cut               bool
	}{
		{"short calls", 4 * resetLeast, 0, false},
		{"short calls and fewer cancelled ones", resetLeast, resetLeast - 10, false},
		{"few cancelled ones alone", 0, resetLeast - 1, false},
		// Too few for a second cut, where the client goes on over a new connection.
		{"many cancelled ones alone", 0, resetLeast * 3 / 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ended := make(chan struct{}, 1)
			watch := func(ss grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]) error {
				if err := ss.Send(&headroomv1.WatchSnapshotsResponse{}); err != nil {
					return err
				}
				<-ss.Context().Done()
				ended <- struct{}{}
				return ss.Context().Err()
			}
			p := startProbe(t, listenLoopback(t), probeConfig{watch: watch})
			cc := p.dial(t)
			for range tt.complete {
				if err := checkHealth(t, cc); err != nil {
					t.Fatal(err)
				}
			}
			for range tt.cancels {
				ctx, cancel := context.WithCancel(t.Context())
				ss, err := headroomv1.NewStatusServiceClient(cc).WatchSnapshots(ctx, &headroomv1.WatchSnapshotsRequest{})
				if err == nil {
					_, err = ss.Recv()
				}
				cancel()
				if err != nil {
					break // cut; counted below
				}
				<-ended
			}
			want := int64(0)
			if tt.cut {
				want = 1
				eventually(t, "the connection is cut", func() bool { return p.guard.counts().cutForResets > 0 })
			}
			if got := p.guard.counts().cutForResets; got != want {
				t.Errorf("%d connections were cut, want %d", got, want)
			}
		})
	}
	t.Run("calls that run into their deadline", func(t *testing.T) {
		watch := func(ss grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]) error {
			<-ss.Context().Done()
			return ss.Context().Err()
		}
		p := startProbe(t, listenLoopback(t), probeConfig{watch: watch})
		cc := p.dial(t)
		for range 2 * resetLeast {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
			ss, err := headroomv1.NewStatusServiceClient(cc).WatchSnapshots(ctx, &headroomv1.WatchSnapshotsRequest{})
			if err == nil {
				_, err = ss.Recv()
			}
			cancel()
			if err == nil {
				t.Fatal("Recv = nil, want the deadline")
			}
		}
		if got := p.guard.counts().cutForResets; got != 0 {
			t.Errorf("%d connections were cut, want 0", got)
		}
	})
}
