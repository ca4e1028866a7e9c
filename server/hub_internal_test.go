package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/headroom-rpc/headroom/snapshot"
)

// fakeSource is a Snapshotter as the hub sees it.
type fakeSource struct {
	mu      sync.Mutex
	view    snapshot.View
	changed chan struct{}
}

func newFakeSource() *fakeSource {
	return &fakeSource{view: snapshot.View{Version: 1, Verdict: 1}, changed: make(chan struct{})}
}

func (f *fakeSource) View() (snapshot.View, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view, f.changed, nil
}

// advance makes a new snapshot, and with verdict a new verdict.
func (f *fakeSource) advance(verdict bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view.Version++
	if verdict {
		f.view.Verdict++
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// fakeStream takes messages, and blocks while it is held.
type fakeStream struct {
	grpc.ServerStream
	ctx  context.Context
	hold atomic.Pointer[chan struct{}]
	slow func() // called in every Send, unless nil

	mu       sync.Mutex
	inFlight int
	overlap  bool
	got      []int64         // sequences
	at       []time.Duration // when, since begin
	begin    time.Time
}

func (s *fakeStream) Context() context.Context { return s.ctx }

func (s *fakeStream) SendMsg(m any) error {
	s.mu.Lock()
	s.inFlight++
	s.overlap = s.overlap || s.inFlight > 1
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inFlight--
		s.mu.Unlock()
	}()
	if hold := s.hold.Load(); hold != nil {
		select {
		case <-*hold:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
	if s.slow != nil {
		s.slow()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, m.(*frame).sequence)
	s.at = append(s.at, time.Since(s.begin))
	return nil
}

func (s *fakeStream) block() (release func()) {
	hold := make(chan struct{})
	s.hold.Store(&hold)
	return func() {
		s.hold.Store(nil)
		close(hold)
	}
}

func (s *fakeStream) sequences() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *fakeStream) times() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.at)
}

// hubFixture is a running hub; use it inside a bubble.
type hubFixture struct {
	*hub
	source  *fakeSource
	encodes atomic.Int64
	begin   time.Time
	stalls  atomic.Int64
}

func startHub(t *testing.T) *hubFixture {
	f := &hubFixture{hub: newHub(5*time.Second, 20_000), source: newFakeSource(), begin: time.Now()}
	f.view = f.source.View
	f.stalled = func(context.Context) { f.stalls.Add(1) }
	f.encode = func(st state, _ kindSet) ([]byte, error) {
		f.encodes.Add(1)
		return fmt.Appendf(nil, "state %d", st.sequence), nil
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run = %v, want nil", err)
		}
	})
	return f
}

// subscribe serves a new stream until it ends; its error arrives on the channel.
func (f *hubFixture) subscribe(t *testing.T, interval time.Duration) (*fakeStream, <-chan error) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &fakeStream{ctx: ctx, begin: f.begin}
	done := make(chan error, 1)
	go func() {
		// A handler that returns ends its stream.
		defer cancel()
		done <- f.serve(s, feedKey{interval: interval}, func(st state) (*frame, error) {
			return newFrame(st.sequence, nil), nil
		})
	}()
	return s, done
}

func inBubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

func TestHubSendsAtTheInterval(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := startHub(t)
		s, _ := h.subscribe(t, time.Second)
		synctest.Wait()
		for range 8 { // snapshots at 0.5 s, 1 s, ... 4 s
			time.Sleep(500 * time.Millisecond)
			h.source.advance(false)
		}
		time.Sleep(400 * time.Millisecond)
		want := []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second}
		if got := s.times(); !slices.Equal(got, want) {
			t.Errorf("sent at %v, want %v", got, want)
		}
	})
}

func TestHubSendsAVerdictAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := startHub(t)
		s, _ := h.subscribe(t, 5*time.Second)
		time.Sleep(1200 * time.Millisecond)
		h.source.advance(true)
		time.Sleep(4 * time.Millisecond)
		h.source.advance(true) // within the settle time: travels with the first
		time.Sleep(time.Second)
		want := []time.Duration{0, 1200*time.Millisecond + settle}
		if got := s.times(); !slices.Equal(got, want) {
			t.Errorf("sent at %v, want %v", got, want)
		}
	})
}

func TestHubBreaksTheSilence(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := startHub(t)
		short, _ := h.subscribe(t, time.Second)
		long, _ := h.subscribe(t, 10*time.Second)
		time.Sleep(61 * time.Second)
		for _, s := range []struct {
			name   string
			stream *fakeStream
			most   time.Duration
		}{{"1s", short, maxSilence(time.Second)}, {"10s", long, maxSilence(10 * time.Second)}} {
			times := append(s.stream.times(), 61*time.Second)
			for i, at := range times[1:] {
				if silence := at - times[i]; silence >= s.most {
					t.Errorf("interval %s: silent for %v from %v on, want less than %v", s.name, silence, times[i], s.most)
				}
			}
		}
	})
}

func TestHubEncodesOnceForAll(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := startHub(t)
		var streams []*fakeStream
		for range 1000 {
			s, _ := h.subscribe(t, time.Second)
			streams = append(streams, s)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		h.source.advance(false)
		time.Sleep(100 * time.Millisecond)
		if got := h.encodes.Load(); got != 1 {
			t.Errorf("%d encodings, want 1", got)
		}
		for i, s := range streams {
			if got := len(s.sequences()); got != 2 {
				t.Fatalf("stream %d got %d messages, want 2", i, got)
			}
		}
		if got := h.sent.Load(); got != 2000 {
			t.Errorf("%d states counted as sent, want 2000", got)
		}
	})
}

// A stream whose Send blocks delays nobody, skips states, never sees an older one after a newer one, and goes
// on with the newest when it reads again.
func TestHubSlowReaderSkips(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := startHub(t)
		slow, _ := h.subscribe(t, 100*time.Millisecond)
		synctest.Wait()
		var others []*fakeStream
		for range 300 {
			s, _ := h.subscribe(t, 100*time.Millisecond)
			others = append(others, s)
		}
		synctest.Wait()
		release := slow.block()
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			h.source.advance(false)
		}
		time.Sleep(90 * time.Millisecond)
		for i, s := range others {
			if got := len(s.sequences()); got != 21 {
				t.Fatalf("stream %d got %d states beside a slow one, want 21", i, got)
			}
		}
		release()
		synctest.Wait()
		got := slow.sequences()
		last := others[0].sequences()
		if len(got) != 3 || got[2] != last[len(last)-1] {
			t.Errorf("slow stream got %v, want its first, the one in flight, and the newest, %d", got, last[len(last)-1])
		}
		if !slices.IsSorted(got) || slow.overlap {
			t.Errorf("slow stream got %v, overlapping %v, want rising and not overlapping", got, slow.overlap)
		}
		if got := h.skipped.Load(); got != 18 {
			t.Errorf("%d states counted as skipped, want 18", got)
		}
	})
}

func TestHubEndsAStreamThatDoesNotRead(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := startHub(t)
		stuck, done := h.subscribe(t, time.Second)
		healthy, _ := h.subscribe(t, time.Second)
		synctest.Wait()
		stuck.block()
		time.Sleep(time.Second)
		h.source.advance(false)
		began := time.Now()
		err := <-done
		slow, ok := errors.AsType[*slowReaderError](err)
		if !ok || slow.timeout != 5*time.Second {
			t.Fatalf("serve = %v, want a slowReaderError of 5s", err)
		}
		if took := time.Since(began); took < 5*time.Second || took > 5500*time.Millisecond {
			t.Errorf("ended after %v, want 5s to 5.5s", took)
		}
		synctest.Wait() // it is told on a goroutine of its own
		if got := h.stalls.Load(); got != 1 {
			t.Errorf("stalled was told %d times, want once", got)
		}
		h.source.advance(false)
		time.Sleep(1100 * time.Millisecond)
		if got := len(healthy.sequences()); got != 3 {
			t.Errorf("the other stream got %d states, want 3", got)
		}
		if got := h.subscribers(); got != 1 {
			t.Errorf("%d subscribers left, want 1", got)
		}
	})
}

// Thousands of streams that stop reading at once delay the others by a few ticks.
func TestHubManySlowReaders(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := startHub(t)
		var stuck, healthy []*fakeStream
		var ends []<-chan error
		for range 2000 {
			s, done := h.subscribe(t, 100*time.Millisecond)
			stuck, ends = append(stuck, s), append(ends, done)
			s, _ = h.subscribe(t, 100*time.Millisecond)
			healthy = append(healthy, s)
		}
		synctest.Wait()
		for _, s := range stuck {
			s.block()
		}
		time.Sleep(100 * time.Millisecond)
		h.source.advance(false)
		changed := time.Since(h.begin)
		time.Sleep(time.Second)
		for i, s := range healthy {
			times := s.times()
			if len(times) < 2 || times[1]-changed > 500*time.Millisecond {
				t.Fatalf("healthy stream %d got its state at %v, want within 500ms of %v", i, times, changed)
			}
		}
		time.Sleep(6 * time.Second)
		for i, done := range ends {
			select {
			case <-done:
			default:
				t.Fatalf("stuck stream %d still stands after 7s", i)
			}
		}
	})
}

// A subscriber that joins while a state changes misses nothing: what it is sent last is the newest.
func TestHubJoinMissesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := startHub(t)
		first, _ := h.subscribe(t, 100*time.Millisecond)
		synctest.Wait()
		late := &fakeStream{ctx: t.Context(), begin: h.begin}
		go h.serve(late, feedKey{interval: 100 * time.Millisecond}, func(st state) (*frame, error) {
			time.Sleep(time.Second) // the first message takes its time, while states change
			return newFrame(st.sequence, nil), nil
		})
		for range 5 {
			time.Sleep(150 * time.Millisecond)
			h.source.advance(false)
		}
		time.Sleep(time.Second)
		got, want := late.sequences(), first.sequences()
		if len(got) != 2 || got[1] != want[len(want)-1] || late.overlap {
			t.Errorf("late stream got %v, want its first and the newest, %d", got, want[len(want)-1])
		}
		h.end()
	})
}

// A feed whose walk takes longer than its interval starts no second one beside it: nobody is left out, and the
// work in flight stays bounded.
func TestHubWalksOneAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := startHub(t)
		var inFlight, most atomic.Int64
		var streams []*fakeStream
		for range 50 { // so few that one worker walks
			s, _ := h.subscribe(t, 100*time.Millisecond)
			streams = append(streams, s)
		}
		synctest.Wait()
		for _, s := range streams {
			s.slow = func() {
				most.Store(max(most.Load(), inFlight.Add(1)))
				time.Sleep(10 * time.Millisecond)
				inFlight.Add(-1)
			}
		}
		for range 30 {
			time.Sleep(100 * time.Millisecond)
			h.source.advance(false)
		}
		time.Sleep(time.Second)
		// The last Send of a walk may overlap the first of the next one.
		if got := most.Load(); got > 2 {
			t.Errorf("%d Sends at a time, want at most 2", got)
		}
		for i, s := range streams {
			if got, want := len(s.sequences()), len(streams[0].sequences()); got < want-1 || got < 5 {
				t.Errorf("stream %d got %d states, the first one %d", i, got, want)
			}
		}
	})
}

func TestSubscriber(t *testing.T) {
	frames := func(n int64) *frame { return newFrame(n, nil) }
	newSubscriber := func() *subscriber { return &subscriber{ended: make(chan struct{})} }
	offer := func(t *testing.T, s *subscriber, n int64, wantSend bool, wantSkipped uint64) {
		t.Helper()
		if send, skipped := s.offer(frames(n)); send != wantSend || skipped != wantSkipped {
			t.Errorf("offer(%d) = %v, %d, want %v, %d", n, send, skipped, wantSend, wantSkipped)
		}
	}
	t.Run("an older state is refused", func(t *testing.T) {
		s := newSubscriber()
		offer(t, s, 5, true, 0)
		s.next(nil)
		offer(t, s, 4, false, 0)
		offer(t, s, 5, false, 0)
		offer(t, s, 6, true, 0)
	})
	t.Run("one Send in flight, the newest waits", func(t *testing.T) {
		s := newSubscriber()
		offer(t, s, 1, true, 0)
		offer(t, s, 2, false, 0)
		offer(t, s, 3, false, 1)
		if f := s.next(nil); f == nil || f.sequence != 3 {
			t.Fatalf("next = %v, want 3", f)
		}
		offer(t, s, 4, false, 0) // 3 is in flight
		if f := s.next(nil); f == nil || f.sequence != 4 {
			t.Fatalf("next = %v, want 4", f)
		}
		if f := s.next(nil); f != nil {
			t.Fatalf("next = %v, want none", f)
		}
		offer(t, s, 5, true, 0)
	})
	t.Run("nothing after close", func(t *testing.T) {
		s := newSubscriber()
		offer(t, s, 1, true, 0)
		offer(t, s, 2, false, 0)
		s.close()
		if f := s.next(nil); f != nil {
			t.Errorf("next = %v after close, want none", f)
		}
		offer(t, s, 3, false, 0)
	})
	t.Run("nothing after a failed Send", func(t *testing.T) {
		s := newSubscriber()
		offer(t, s, 1, true, 0)
		offer(t, s, 2, false, 0)
		if f := s.next(errors.New("gone")); f != nil {
			t.Errorf("next = %v after a failure, want none", f)
		}
		offer(t, s, 3, false, 0)
	})
	t.Run("what is handed off gives way to what is newer", func(t *testing.T) {
		s := newSubscriber()
		s.sending, s.last = true, 1
		offer(t, s, 2, false, 0)
		handed := s.release()
		offer(t, s, 3, true, 0)
		offer(t, s, handed.sequence, false, 0)
	})
	t.Run("only the first end counts", func(t *testing.T) {
		s := newSubscriber()
		if !s.end(errDraining) || s.end(nil) {
			t.Error("end = want true once, then false")
		}
		<-s.ended
		if s.err != errDraining {
			t.Errorf("err = %v, want errDraining", s.err)
		}
	})
}

func TestHubEnd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := startHub(t)
		_, done := h.subscribe(t, time.Second)
		stuck, stuckDone := h.subscribe(t, time.Second)
		synctest.Wait()
		stuck.block()
		time.Sleep(time.Second)
		h.source.advance(false)
		time.Sleep(100 * time.Millisecond)
		h.end()
		for _, d := range []<-chan error{done, stuckDone} {
			if err := <-d; err != nil {
				t.Errorf("serve = %v at the end of the hub, want nil", err)
			}
		}
		_, refused := h.subscribe(t, time.Second)
		if err := <-refused; !errors.Is(err, errDraining) {
			t.Errorf("serve after the end = %v, want errDraining", err)
		}
	})
}

func TestHubBounds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		h := startHub(t)
		h.maxSubscribers = 2
		h.subscribe(t, time.Second)
		h.subscribe(t, time.Second)
		synctest.Wait()
		_, done := h.subscribe(t, time.Second)
		if full, ok := errors.AsType[*subscribersError](<-done); !ok || full.max != 2 {
			t.Errorf("the third of two subscribers: %v, want a subscribersError of 2", full)
		}
	})
}

func TestSchedule(t *testing.T) {
	type step struct {
		now              time.Duration
		version, verdict uint64
		due              time.Duration
	}
	const ms = time.Millisecond
	for _, tt := range []struct {
		name     string
		interval time.Duration
		steps    []step
	}{
		{"unchanged: three quarters of the silence", time.Second, []step{{0, 1, 1, 7500 * ms}, {5 * time.Second, 1, 1, 7500 * ms}}},
		{"longest interval", 10 * time.Second, []step{{0, 1, 1, 15 * time.Second}}},
		{"change waits for the first one after the interval", time.Second, []step{
			{300 * ms, 2, 1, 1500 * ms}, {900 * ms, 3, 1, 1500 * ms}, {1200 * ms, 4, 1, 1200 * ms}, {1300 * ms, 4, 1, 1200 * ms},
		}},
		{"or for half a second", 10 * time.Second, []step{{300 * ms, 2, 1, 10500 * ms}, {10400 * ms, 2, 1, 10500 * ms}}},
		{"a little early is after the interval", time.Second, []step{{994 * ms, 2, 1, 1500 * ms}, {995 * ms, 3, 1, 995 * ms}}},
		{"verdict does not wait", time.Second, []step{{300 * ms, 2, 2, 310 * ms}, {305 * ms, 3, 3, 310 * ms}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSchedule(tt.interval, 0, 1, 1)
			for _, st := range tt.steps {
				s.observe(st.now, st.version, st.verdict)
				if got := s.due(); got != st.due {
					t.Errorf("at %v: due at %v, want %v", st.now, got, st.due)
				}
			}
		})
	}
	t.Run("neither lateness nor earliness adds up", func(t *testing.T) {
		for _, tt := range []struct{ news, sent, next time.Duration }{
			{1000 * ms, 1003 * ms, 2000 * ms},
			{996 * ms, 996 * ms, 2000 * ms},
			{1000 * ms, 1500 * ms, 2500 * ms}, // much too late: count from then
			{1400 * ms, 1403 * ms, 2400 * ms},
		} {
			s := newSchedule(time.Second, 0, 1, 1)
			s.observe(tt.news, 2, 1)
			s.record(tt.sent, 2, 1)
			s.observe(tt.next-early-1, 3, 1)
			if got, want := s.due(), tt.next+500*ms; got != want {
				t.Errorf("sent at %v: due at %v, want %v", tt.sent, got, want)
			}
			s.observe(tt.next-early, 4, 1)
			if got, want := s.due(), tt.next-early; got != want {
				t.Errorf("sent at %v: due at %v, want %v", tt.sent, got, want)
			}
		}
	})
}

func TestRoundInterval(t *testing.T) {
	for _, tt := range []struct{ asked, want time.Duration }{
		{0, time.Second}, {-1, time.Second}, {1, 100 * time.Millisecond},
		{100 * time.Millisecond, 100 * time.Millisecond}, {101 * time.Millisecond, 200 * time.Millisecond},
		{3 * time.Second, 5 * time.Second}, {10 * time.Second, 10 * time.Second}, {time.Hour, 10 * time.Second},
	} {
		if got := roundInterval(tt.asked); got != tt.want {
			t.Errorf("roundInterval(%v) = %v, want %v", tt.asked, got, tt.want)
		}
	}
}
