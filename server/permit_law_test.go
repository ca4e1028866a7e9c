package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/limit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// A tasker is a worker that uses all that it may, with tasks of one kind.
type tasker struct {
	*worker
	burns          float64 // cores of each task, while there are enough
	up             time.Duration
	cpu, ran, held time.Duration // sums over the tasks
}

// use returns how many cores each task uses, and for which share of the time it is at the CPU, when that takes slow
// times as long as alone.
func (w *tasker) use(slow float64) (cores, at float64) {
	cores = w.burns / (w.burns*slow + 1 - w.burns)
	return cores, cores * slow
}

// work lets each use for a second what it may, on a machine of so many cores, shared equally where they are short.
func work(t *testing.T, l *leasing, cores float64, taskers ...*tasker) {
	t.Helper()
	synctest.Wait()
	used := func(slow float64) (sum float64) {
		for _, w := range taskers {
			each, _ := w.use(slow)
			sum += each * float64(w.targetOf("host").GetTarget())
		}
		return sum
	}
	slow := 1.0
	for used(slow) > cores {
		slow *= 1.01
	}
	l.machine.mu.Lock()
	l.machine.cpu = used(slow) / cores
	l.machine.mu.Unlock()
	time.Sleep(time.Second)
	synctest.Wait()
	for _, w := range taskers {
		target := w.targetOf("host")
		n := time.Duration(target.GetTarget())
		each, at := w.use(slow)
		w.up += time.Second
		w.held += n * time.Second
		w.cpu += time.Duration(each * float64(n*time.Second))
		w.ran += time.Duration(at * float64(n*time.Second))
		w.report(&headroomv1.PermitReport{
			Resource: "host", Version: target.GetVersion(), Held: target.GetTarget(), Want: 1000,
			Usage: &headroomv1.PermitUsage{
				Uptime: durationpb.New(w.up), CpuTime: durationpb.New(w.cpu), PermitTime: durationpb.New(w.held),
				RunnableTime: durationpb.New(w.ran), Completions: proto.Int64(int64(w.up / time.Second * n)),
			},
		})
	}
}

// Without any settings the law computes from what workers report that they use how many keep the machine busy, and
// shares the cores between them: permits follow from what a task of each uses.
func TestHostDividesByUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a", "b")
		if got := l.host(t); got.GetLimit() < 2 || got.GetLimit() > 4 || got.GetLaw() != "twostation" {
			t.Errorf("account = %v, want about the 2 cores by the law twostation", got)
		}
		begin := func(name string, burns float64) *tasker {
			w := attach(t, l.as(t, name), name, &headroomv1.PermitReport{Resource: "host", Want: 1000})
			return &tasker{worker: w, burns: burns}
		}
		io := begin("a", 0.02)
		for range 30 {
			work(t, l, 2, io)
		}
		alone := io.targetOf("host").GetTarget()
		if alone < 90 || alone > 250 {
			t.Errorf("target %d for tasks that use 2 %% of a core each, want enough for 2 cores: about 110", alone)
		}

		cpu := begin("b", 1)
		if first := cpu.targetOf("host").GetTarget(); first > 1 {
			t.Errorf("target %d at first, want no more than its part of the cores, 1", first)
		}
		for range 30 {
			work(t, l, 2, io, cpu)
		}
		many, few := io.targetOf("host"), cpu.targetOf("host")
		if few.GetTarget() < 1 || few.GetTarget() > 4 {
			t.Errorf("target %v for tasks that use a core each, want about 1", few)
		}
		if many.GetTarget() < 40 || many.GetTarget() >= alone {
			t.Errorf("target %v beside them, want about half of %d", many, alone)
		}
		if got := l.host(t); !strings.Contains(got.GetBinding(), "2 pools share") {
			t.Errorf("account = %v, want it to say that 2 share", got)
		}
		if !strings.Contains(few.GetBinding(), "part of the limit") {
			t.Errorf("binding %q, want it to name the part", few.GetBinding())
		}
	})
}

// Laws that are tried are listed, and change nothing.
func TestShadowLaws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parse := func(text string) limit.Law {
			law, err := limit.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			return law
		}
		l := lease(t, func(c *server.Config) {
			c.Permits.Host.Law = parse("fixed limit=5")
			c.Permits.Host.Shadows = []limit.Law{parse("fixed limit=9"), parse("aimd start=3")}
		}, "a")
		got := l.host(t)
		shadows := got.GetShadows()
		if got.GetLimit() != 5 || len(shadows) != 2 {
			t.Fatalf("account = %v, want the limit 5, and two laws beside", got)
		}
		if s := shadows[0]; s.GetLaw() != "fixed" || s.GetLimit() != 9 || s.GetBinding() == "" {
			t.Errorf("first shadow = %v, want fixed with 9, and why", s)
		}
		if s := shadows[1]; s.GetLaw() != "aimd" || s.GetLimit() != 3 {
			t.Errorf("second shadow = %v, want aimd with 3", s)
		}
	})
}

// A timedLaw notes when it is asked.
type timedLaw struct {
	limit.Law
	mu sync.Mutex
	at []time.Time
}

func (l *timedLaw) Step(in limit.Input) limit.Decision {
	l.mu.Lock()
	l.at = append(l.at, time.Now())
	l.mu.Unlock()
	return l.Law.Step(in)
}

func (l *timedLaw) last() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at[len(l.at)-1]
}

// The first who wants what nobody used does not wait for a whole step of the law, and those that follow call for none.
func TestLawLooksAtTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fixed, err := limit.NewFixed(10)
		if err != nil {
			t.Fatal(err)
		}
		law := &timedLaw{Law: fixed}
		l := lease(t, func(c *server.Config) { c.Permits.Host.Law = law }, "a")
		time.Sleep(10*time.Second + 100*time.Millisecond)
		synctest.Wait()
		for i, want := range []bool{true, false} {
			came := time.Now()
			attach(t, l.as(t, "a"), fmt.Sprint(i), &headroomv1.PermitReport{Resource: "host", Want: 1})
			time.Sleep(350 * time.Millisecond)
			synctest.Wait()
			if looked := law.last().After(came); looked != want {
				t.Errorf("worker %d: the law looks soon: %v, want %v", i, looked, want)
			}
		}
	})
}
