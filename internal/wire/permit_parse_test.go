package wire_test

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// usualWorkerFrame returns a frame of the kind that is encoded without a message.
func usualWorkerFrame(r *rand.Rand) permit.WorkerFrame {
	f := randomWorkerFrame(r)
	f.Hello, f.Goodbye = nil, false
	for i := range f.Reports {
		f.Reports[i].Usage, f.Reports[i].HasUsage = permit.Usage{}, false
		f.Reports[i].OldestWait %= 1e18
		f.Reports[i].MeanHold %= 1e18
	}
	return f
}

func usualServerFrame(r *rand.Rand) permit.ServerFrame {
	f := randomServerFrame(r)
	f.Welcome, f.Drain, f.Draining, f.Kicked = nil, 0, false, ""
	for i := range f.Targets {
		if r.IntN(16) == 0 {
			f.Targets[i].Binding = strings.Repeat("a reason ", 1+r.IntN(2_000)) // of which the length takes one to three bytes
		}
		f.Targets[i].CancelAfter %= 1e18
		f.Targets[i].Wait %= 1e18
	}
	return f
}

// What is appended without a message decodes as the message of the frame, and is parsed as the frame, in the memory of the
// frame before. Other frames are left to the message.
func TestFramesWithoutAMessage(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	var worker permit.WorkerFrame
	var server permit.ServerFrame
	for range 2_000 {
		w := usualWorkerFrame(r)
		raw, ok := wire.AppendWorkerFrame([]byte("before"), &w)
		raw, found := bytes.CutPrefix(raw, []byte("before"))
		var request headroomv1.AttachRequest
		if err := proto.Unmarshal(raw, &request); !ok || !found || err != nil || !proto.Equal(&request, wire.WorkerFrame(&w)) {
			t.Fatalf("%+v is encoded as %v, %v, %v", w, &request, ok, err)
		}
		if ok := wire.ParseWorkerFrame(raw, &worker); !ok || !sameWorkerFrame(&worker, &w) {
			t.Fatalf("parsed %+v, %v\nwant   %+v", worker, ok, w)
		}
		s := usualServerFrame(r)
		raw, ok = wire.AppendServerFrame(nil, &s)
		var response headroomv1.AttachResponse
		if err := proto.Unmarshal(raw, &response); !ok || err != nil || !proto.Equal(&response, wire.ServerFrame(&s)) {
			t.Fatalf("%+v is encoded as %v, %v, %v", s, &response, ok, err)
		}
		if ok := wire.ParseServerFrame(raw, &server); !ok || !sameServerFrame(&server, &s) {
			t.Fatalf("parsed %+v, %v\nwant   %+v", server, ok, s)
		}
	}
	for range 1_000 {
		w, s := randomWorkerFrame(r), randomServerFrame(r)
		if raw, ok := wire.AppendWorkerFrame(nil, &w); ok != (w.Hello == nil && !w.Goodbye && !hasUsage(&w)) || !ok && len(raw) > 0 {
			t.Fatalf("%+v: appended %v", w, ok)
		}
		if raw, ok := wire.AppendServerFrame(nil, &s); ok != (s.Welcome == nil && !s.Draining && s.Kicked == "") || !ok && len(raw) > 0 {
			t.Fatalf("%+v: appended %v", s, ok)
		}
	}
}

func hasUsage(f *permit.WorkerFrame) bool {
	for i := range f.Reports {
		if f.Reports[i].HasUsage {
			return true
		}
	}
	return false
}

func sameWorkerFrame(a, b *permit.WorkerFrame) bool {
	return a.Sequence == b.Sequence && a.Sent == b.Sent && (a.Hello == nil) == (b.Hello == nil) && a.Goodbye == b.Goodbye &&
		len(a.Reports) == len(b.Reports) && (len(a.Reports) == 0 || reflect.DeepEqual(a.Reports, b.Reports))
}

func sameServerFrame(a, b *permit.ServerFrame) bool {
	c, d := *a, *b
	c.Targets, d.Targets = nil, nil
	return reflect.DeepEqual(c, d) && len(a.Targets) == len(b.Targets) &&
		(len(a.Targets) == 0 || reflect.DeepEqual(a.Targets, b.Targets))
}

// FuzzParseFrames holds that what is parsed without a message, in the memory of what came before, is what the message
// says.
func FuzzParseFrames(f *testing.F) {
	r := rand.New(rand.NewPCG(23, 24))
	for range 20 {
		worker, server := usualWorkerFrame(r), usualServerFrame(r)
		fromWorker, _ := wire.AppendWorkerFrame(nil, &worker)
		fromServer, _ := wire.AppendServerFrame(nil, &server)
		f.Add(fromWorker, appendHostile(nil, r, "worker"))
		f.Add(appendHostile(nil, r, "server"), fromServer)
	}
	f.Fuzz(func(t *testing.T, before, raw []byte) { checkParsedAfter(t, before, raw) })
}

// checkParsed reports whether raw was parsed as a frame.
func checkParsed(t *testing.T, raw []byte) (parsed bool) {
	t.Helper()
	return checkParsedAfter(t, raw, raw)
}

// checkParsedAfter is checkParsed with the memory of the frame that before is, or is not.
func checkParsedAfter(t *testing.T, before, raw []byte) (parsed bool) {
	t.Helper()
	var worker permit.WorkerFrame
	wire.ParseWorkerFrame(before, &worker)
	if parseAndClear(raw, &worker, wire.ParseWorkerFrame) {
		parsed = true
		var m headroomv1.AttachRequest
		err := proto.Unmarshal(raw, &m)
		want, fault := wire.WorkerFrameFrom(&m)
		if err != nil || fault != nil || !sameWorkerFrame(&worker, &want) {
			t.Fatalf("%x is parsed as %+v, want %+v, %v, %v", raw, worker, want, err, fault)
		}
	}
	var server permit.ServerFrame
	wire.ParseServerFrame(before, &server)
	if parseAndClear(raw, &server, wire.ParseServerFrame) {
		parsed = true
		var m headroomv1.AttachResponse
		err := proto.Unmarshal(raw, &m)
		want, fault := wire.ServerFrameFrom(&m)
		if err != nil || fault != nil || !sameServerFrame(&server, &want) {
			t.Fatalf("%x is parsed as %+v, want %+v, %v, %v", raw, server, want, err, fault)
		}
	}
	return parsed
}

// parseAndClear parses a copy of raw, which then is no more: so does gRPC with its buffers.
func parseAndClear[F any](raw []byte, f *F, parse func([]byte, *F) bool) (ok bool) {
	b := bytes.Clone(raw)
	ok = parse(b, f)
	clear(b)
	return ok
}

// Frames with a byte changed, cut out or doubled, and with a field twice, are parsed as their message or not at all.
func TestParsedAsTheMessage(t *testing.T) {
	r := rand.New(rand.NewPCG(25, 26))
	parsed, refused := 0, 0
	for range 5_000 {
		w, s := usualWorkerFrame(r), usualServerFrame(r)
		raw, _ := wire.AppendWorkerFrame(nil, &w)
		if flip(r) {
			raw, _ = wire.AppendServerFrame(nil, &s)
		}
		if len(raw) == 0 {
			continue
		}
		switch at := r.IntN(len(raw)); r.IntN(4) {
		case 0:
			raw[at] = byte(r.Uint32())
		case 1:
			raw[at] ^= 1 << r.IntN(8)
		case 2:
			raw = append(raw[:at], raw[at+1:]...)
		case 3:
			raw = append(raw, raw[:at]...)
		}
		if checkParsed(t, raw) {
			parsed++
		} else {
			refused++
		}
	}
	if parsed == 0 || refused == 0 {
		t.Errorf("%d parsed, %d not, want some of each", parsed, refused)
	}
}

// What is merged by its message, or made the nearest that is in range, is left to it.
func TestOddFramesAreLeftToTheMessage(t *testing.T) {
	wait := []byte("\x08\x01\x22\x08\x4a\x02\x08\x01\x4a\x02\x10\x01") // sequence 1, and a report of two waits: 1 s and 1 ns
	var request headroomv1.AttachRequest
	if err := proto.Unmarshal(wait, &request); err != nil || request.GetReports()[0].GetOldestWait().AsDuration() != 1_000_000_001 {
		t.Fatalf("two waits are %v, %v, want their sum", &request, err)
	}
	for name, raw := range map[string][]byte{
		"two waits":     wait,
		"a long report": encoded(t, &headroomv1.AttachResponse{Targets: []*headroomv1.Target{{ReportWithin: durationpb.New(1e15)}}}),
		"many targets":  encoded(t, &headroomv1.AttachResponse{Targets: make([]*headroomv1.Target, 2*permit.MaxReports+1)}),
		"many reports":  encoded(t, &headroomv1.AttachRequest{Sequence: 1, Reports: make([]*headroomv1.PermitReport, permit.MaxReports+1)}),
		"no text twice": []byte("\x2a\x03\x4a\x01\xff"), // a target of which the binding is a byte that is no UTF-8
		"a negative":    encoded(t, &headroomv1.AttachResponse{Sequence: -1}),
	} {
		if checkParsed(t, raw) {
			t.Errorf("%s: parsed", name)
		}
	}
}

func encoded(t *testing.T, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A frame like the one before is parsed in its memory.
func TestParsingAllocatesNothing(t *testing.T) {
	rawWorker, _ := wire.AppendWorkerFrame(nil, &permit.WorkerFrame{Sequence: 1, Reports: []permit.Report{{Resource: "a name"}}})
	rawServer, _ := wire.AppendServerFrame(nil, &permit.ServerFrame{Targets: []permit.Target{{Resource: "a name", Binding: "a reason"}}})
	var worker permit.WorkerFrame
	var server permit.ServerFrame
	allocs := testing.AllocsPerRun(100, func() {
		if !wire.ParseWorkerFrame(rawWorker, &worker) || !wire.ParseServerFrame(rawServer, &server) {
			t.Error("not parsed")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want none", allocs)
	}
}

func BenchmarkFrames(b *testing.B) {
	worker := permit.WorkerFrame{Sequence: 1000, Sent: 1e12, Reports: []permit.Report{{
		Resource: "one", Version: 1000, Want: 1, HasCeiling: true, Weight: 1, Need: 1, OldestWait: 1e4, MeanHold: 1e6,
	}}}
	server := permit.ServerFrame{Sequence: 1000, Epoch: 1e15, Echo: 1e12, Targets: []permit.Target{{
		Resource: "one", Version: 1000, Target: 1, Contended: true, Fence: 1e6, Mode: permit.ModeNormal,
	}}}
	b.Run("with", func(b *testing.B) {
		for b.Loop() {
			raw, _ := proto.Marshal(wire.WorkerFrame(&worker))
			var request headroomv1.AttachRequest
			_ = proto.Unmarshal(raw, &request)
			_, _ = wire.WorkerFrameFrom(&request)
			raw, _ = proto.Marshal(wire.ServerFrame(&server))
			var response headroomv1.AttachResponse
			_ = proto.Unmarshal(raw, &response)
			_, _ = wire.ServerFrameFrom(&response)
		}
	})
	b.Run("without", func(b *testing.B) {
		var w permit.WorkerFrame
		var s permit.ServerFrame
		for b.Loop() {
			raw, _ := wire.AppendWorkerFrame(make([]byte, 0, 128), &worker)
			wire.ParseWorkerFrame(raw, &w)
			raw, _ = wire.AppendServerFrame(make([]byte, 0, 128), &server)
			wire.ParseServerFrame(raw, &s)
		}
	})
}
