package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// journalTo has the grants of the server written to file.
func journalTo(t *testing.T, srv *Server, file *os.File) *arbiter {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	a := srv.permits.running.Load()
	a.enter()
	a.journal = &journal{root: root, file: file, ceilings: map[ceilingKey]permit.Record{}, leases: map[leaseID]lease{}}
	a.leave(nil)
	return a
}

// attachForOne attaches a worker that wants one permit of api.
func attachForOne(call context.Context, t *testing.T, client headroomv1.PermitServiceClient) headroomv1.PermitService_AttachClient {
	t.Helper()
	stream, err := client.Attach(call)
	if err == nil {
		err = stream.Send(&headroomv1.AttachRequest{
			Sequence: 1, SendNanos: 1, Hello: &headroomv1.Hello{Client: "w", InstanceId: make([]byte, 16)},
			Reports: []*headroomv1.PermitReport{{Resource: "api", Want: 1}},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// Nothing is told of a grant before it is written down, and while that takes its time everything else goes on.
func TestGrantsAreWrittenFirst(t *testing.T) {
	srv, client, _ := runPermits(t, func(c *Config) { c.Permits.TTL = 3 * time.Second }) // of a worker that is slow
	call, end := context.WithTimeout(t.Context(), callTimeout)
	defer end()

	// A file that takes no more until it is read.
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	write.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for err == nil {
		_, err = write.Write(make([]byte, 4096))
	}
	write.SetWriteDeadline(time.Time{})
	a, stream := journalTo(t, srv, write), attachForOne(call, t, client)
	eventually(t, "a write to wait", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.writing && len(a.streams) > 0
	})
	a.enter()
	var worker *attached
	for _, worker = range a.streams {
	}
	a.leave(nil)
	if got := worker.take(nil); len(got) > 0 {
		t.Fatalf("could send %v, which is not written down", got)
	}
	granted := make(chan error, 1)
	go func() {
		_, err := client.AcquirePermit(call, &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: "1"})
		granted <- err
	}()
	eventually(t, "both to be decided on as far as can be", func() bool {
		resp, err := client.ListSessions(call, &headroomv1.ListSessionsRequest{})
		return err == nil && len(resp.GetSessions()) == 2
	})
	for sequence := int64(2); sequence <= 5; sequence++ {
		if err := stream.Send(&headroomv1.AttachRequest{Sequence: sequence, SendNanos: sequence}); err != nil {
			t.Fatal(err)
		}
		for echo := int64(0); echo < sequence; {
			resp, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if echo = resp.GetEchoNanos(); len(resp.GetTargets()) > 0 {
				t.Fatalf("told of %v, which is not written down", resp.GetTargets())
			}
		}
	}
	if len(granted) > 0 {
		t.Fatalf("AcquirePermit returned %v before its permit was written down", <-granted)
	}
	go io.Copy(io.Discard, read)
	if err := <-granted; err != nil {
		t.Errorf("AcquirePermit = %v once it could be written down", err)
	}
	for told := false; !told; {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatalf("no target came: %v", err)
		}
		told = len(resp.GetTargets()) > 0
	}
}

// What others have for a worker they send themselves only while it is heard of: one that does not read is waited for by
// nobody else.
func TestWhoIsNotHeardIsSentToByItself(t *testing.T) {
	w := &attached{echoPause: time.Second}
	claims := func() (n int) {
		for ; n < 10 && w.claim(); n++ {
			w.frame([]permit.Target{{Resource: "api"}})
			w.sending = false
		}
		return n
	}
	if n := claims(); n != mostUnheard {
		t.Errorf("others send %d frames, want %d", n, mostUnheard)
	}
	w.hear(&permit.WorkerFrame{Sequence: 1}, time.Second)
	if n := claims(); n != mostUnheard {
		t.Errorf("others send %d frames after one came, want %d", n, mostUnheard)
	}
	w.closed = true
	if w.claim() {
		t.Error("others send on a stream that is over")
	}
}

// talkative is the stream of a worker to which there is more to say, up to a number of frames, while one is sent. Each but
// the first takes a second.
type talkative struct {
	grpc.ServerStream
	w          *attached
	sent, most int
}

func (s *talkative) SendMsg(any) error {
	if s.sent++; s.sent > 1 {
		time.Sleep(time.Second)
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.echoes = s.sent < s.most
	return nil
}

// Who sends to others sends one frame, however fast there is more to say: its own worker waits to be read.
func TestOthersSendOneFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := &talkative{most: 10}
		w := &attached{
			arbiter: &arbiter{broken: true}, stream: stream, limits: Limits{SendTimeout: time.Minute}, echoPause: time.Second,
			stuck: time.AfterFunc(time.Hour, func() {}),
		}
		stream.w, w.echoes = w, true
		begun := time.Now()
		if !w.claim() {
			t.Fatal("nobody else may send")
		}
		w.sendNext(time.Second)
		if took := time.Since(begun); took != 0 {
			t.Errorf("the other one sent for %v", took)
		}
		time.Sleep(time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if stream.sent != stream.most || w.sending {
			t.Errorf("%d frames were sent, want %d, and more are %v", stream.sent, stream.most, w.sending)
		}
		w.stuck.Stop()
	})
}

// A server that has leased nothing to anybody sleeps until somebody comes.
func TestNobodyIsWaitedFor(t *testing.T) {
	srv, client, _ := runPermits(t, nil)
	a := srv.permits.running.Load()
	due := func() time.Duration {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.due
	}
	asleep := func() bool { return due() == never }
	eventually(t, "nothing to be due at first", asleep)
	for name, leave := range map[string]func(context.Context, headroomv1.PermitServiceClient) error{
		"a lease": func(ctx context.Context, client headroomv1.PermitServiceClient) error {
			req := &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: "1", Ttl: durationpb.New(time.Second)}
			_, err := client.AcquirePermit(ctx, req)
			return err
		},
		"a session": attachOnce,
	} {
		ctx, end := context.WithTimeout(t.Context(), callTimeout)
		if err := leave(ctx, client); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		end()
		eventually(t, name+" to end, and then nothing to be due", func() bool {
			sessions, err := client.ListSessions(t.Context(), &headroomv1.ListSessionsRequest{})
			return err == nil && len(sessions.GetSessions()) == 0 && asleep()
		})
	}
}

// Where leases come and go, their ends take no writes of their own; the last of them is written in time all the same.
func TestEndsAreWrittenWithGrants(t *testing.T) {
	dir := stateDir(t)
	srv, client, _ := runPermits(t, func(c *Config) { c.Permits.StateDir = dir })
	a := srv.permits.running.Load()
	for i := range 20 {
		req := &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: fmt.Sprint(i)}
		resp, err := client.AcquirePermit(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if i == 19 {
			break
		}
		if _, err := client.ReleasePermit(t.Context(), &headroomv1.ReleasePermitRequest{PermitId: resp.GetPermit().GetPermitId()}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the journal to have the one lease that is left", func() bool {
		a.mu.Lock() // so that nobody writes
		defer a.mu.Unlock()
		text, err := os.ReadFile(filepath.Join(dir, journalName))
		return err == nil && !a.writing && len(readJournal(text).leases) == 1
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.endings) > 0 || len(a.queues.leases) != 1 {
		t.Errorf("%d ends are not written, and there are %d leases, want 0 and 1", len(a.endings), len(a.queues.leases))
	}
}

// A lease wakes the loop only if it ends before the loop looks by itself.
func TestLeasesWakeTheLoopInTime(t *testing.T) {
	service := &permitService{config: PermitConfig{}.withDefaults(), limits: Limits{}.WithDefaults()}
	law, err := limit.NewFixed(1)
	if err != nil {
		t.Fatal(err)
	}
	service.config.Host.Law = law
	ledger, err := permit.NewLedger(0, service.ledgerConfig(recovered{epoch: 1}))
	if err != nil {
		t.Fatal(err)
	}
	a := newArbiter(ledger, nil, func() time.Duration { return 0 }, slog.New(slog.DiscardHandler))
	a.queues = newQueues(a, service)
	who := permit.Party{Identity: "uid:1"}
	one, err := a.queues.queue(a.clock(), queueKey{identity: who.Identity})
	if err != nil {
		t.Fatal(err)
	}
	keep := func(id byte, ttl time.Duration) (woke bool) {
		if _, err := a.queues.admit(who.Identity); err != nil {
			t.Fatal(err)
		}
		select {
		case <-a.wake:
		default:
		}
		a.due = a.clock() + longestWait
		a.queues.keep(&held{line: one.line(HostResource), lease: lease{id: leaseID{id}, owner: who, ttl: ttl, until: a.clock() + ttl}})
		return len(a.wake) > 0
	}
	if keep(1, time.Minute) {
		t.Error("a lease of a minute woke the loop")
	}
	service.config.Grace = 0
	if !keep(2, time.Millisecond) {
		t.Error("a lease that is over before the loop looks did not wake it")
	}
}
