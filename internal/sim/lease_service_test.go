package sim

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/mistake"
	"github.com/headroom-rpc/headroom/permit"
)

var (
	leaseSeed  = flag.Uint64("lease.seed", 0, "run the service of permits under the faults of this seed only, and print what happened")
	leaseSeeds = flag.Int("lease.seeds", 0, "how many seeds; 0 is 20, or 3 under the race detector")
)

// leaseSpan is for how long things fail.
const leaseSpan = 40 * time.Second

// What really runs under the permits of a real server is within its charges, and these within the limit or falling,
// whatever fails between it and real clients. When nothing fails any more everybody is served, and at the end
// everything is given back.
//
// A bubble fakes time, not the order of goroutines: a seed gives the same faults at the same times, and not
// always the same run.
func TestLeasesOfTheService(t *testing.T) {
	first, want := uint64(1), 20
	switch {
	case *leaseSeed != 0:
		first, want = *leaseSeed, 1
	case *leaseSeeds > 0:
		want = *leaseSeeds
	case raceEnabled:
		want = 3
	}
	// The next seed takes the place of one that does not count.
	last := first + uint64(2*want) + 1
	for seed, counted := first, 0; counted < want; seed++ {
		if seed > last {
			t.Fatalf("%d of %d seeds count, want %d", counted, last-first+1, want)
		}
		enough := true
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				y := runLeases(t, seed)
				if y.fault != nil || t.Failed() {
					t.Fatalf("seed %d: %v\n%s\nthe same faults again: go test ./internal/sim -run '^TestLeasesOfTheService$' -lease.seed %d",
						seed, y.fault, y.history(), seed)
				}
				if err := y.load.enough(); err != nil && *leaseSeed == 0 {
					enough = false
					t.Logf("seed %d does not count: %v", seed, err)
				}
				if *leaseSeed != 0 {
					t.Logf("%s", y.history())
				}
				t.Logf("%+v", y.load)
			})
		})
		if t.Failed() {
			return
		}
		if enough {
			counted++
		}
	}
}

// The mistakes of server and client are seen from outside, by what runs. Those that do harm only where frames come in
// another order are for the simulation of the protocol.
func TestLeasesOfTheServiceFindMistakes(t *testing.T) {
	if raceEnabled {
		t.Skip("it shows nothing about races")
	}
	const within = 40
	for _, m := range []mistake.Mistake{
		mistake.FreeOnSend, mistake.LowerFrees, mistake.YieldKeepsTarget, mistake.IgnoreCeiling,
	} {
		t.Run(m.String(), func(t *testing.T) {
			defer mistake.Plant(m)()
			for seed := uint64(1); seed <= within; seed++ {
				var fault error
				synctest.Test(t, func(t *testing.T) { fault = runLeases(t, seed).fault })
				if fault != nil {
					t.Logf("found by seed %d: %v", seed, fault)
					return
				}
			}
			t.Errorf("not found in %d seeds", within)
		})
	}
}

// enough reports whether the service was put to the test.
func (l *tallied) enough() error {
	if l.starts < 150 || l.lost < 1 || l.waits < 150 || l.observed < 20 || l.crashes < 1 || l.partitions < 1 ||
		l.restarts+l.kills < 1 || l.limits < 1 || l.held < 5 {
		return fmt.Errorf("too little happened: %+v", *l)
	}
	return nil
}

// mischief is what lets things fail.
type mischief struct {
	site    *site
	tally   *tally
	random  *rand.Rand
	tenants []*tenant
	client  *client.Client
	path    *path // of client
	later   sync.WaitGroup
	hired   int
	seen    map[string]permit.ResourceAccount // by an observation since which the limit was not set
}

func runLeases(t *testing.T, seed uint64) *tally {
	y := newTally()
	s := &site{t: t, tally: y, host: newHost(), dir: t.TempDir()}
	s.start()
	m := &mischief{
		site: s, tally: y, random: rand.New(rand.NewPCG(seed, 0)), seen: make(map[string]permit.ResourceAccount),
		path: newPath(0),
	}
	c, err := s.client(context.Background(), operator, operator, m.path)
	if err != nil {
		t.Fatal(err)
	}
	m.client = c
	time.Sleep(permit.DefaultTTL + permit.DefaultGrace) // nothing is known of an earlier life
	for i := range 8 {
		m.tenants = append(m.tenants, m.hire(i))
	}
	begin := time.Now()
	for time.Since(begin) < leaseSpan {
		time.Sleep(m.between(200*time.Millisecond, 2500*time.Millisecond))
		m.observe()
		if y.load.restarts+y.load.kills == 0 && time.Since(begin) > leaseSpan/2 {
			m.restart(seed%2 == 0)
		} else {
			m.fault()
		}
		m.observe()
	}
	m.later.Wait()
	m.heal()
	m.end()
	return y
}

// hire starts the i-th tenant, or one in its place.
func (m *mischief) hire(i int) *tenant {
	m.hired++
	identity := []string{"red", "green", "blue"}[i%3]
	return m.site.hire(fmt.Sprintf("%s-%d-%d", identity, i, m.hired), identity, i >= 6, m.random)
}

// observe compares the accounts with what runs.
func (m *mischief) observe() {
	for resource := range siteLimits {
		account, err := m.tally.observe(resource, func() (permit.ResourceAccount, error) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			resources, _, err := m.client.PermitSessions(ctx, resource)
			if err != nil {
				return permit.ResourceAccount{}, err
			}
			return resources[0], nil
		})
		if err != nil {
			delete(m.seen, resource)
			continue
		}
		sum := account.Charge + account.Unknown
		before, ok := m.seen[resource]
		if was := before.Charge + before.Unknown; ok && was > account.Limit && before.Limit == account.Limit && sum > was {
			m.tally.fail("the charges of %s rose from %d to %d over the limit, %d", resource, was, sum, account.Limit)
		}
		if resource != "host" && sum <= account.Limit {
			m.tally.settle(resource, account.Limit)
		}
		m.seen[resource] = account
	}
}

// forget has what was observed not compared with what comes.
func (m *mischief) forget() { clear(m.seen) }

func (m *mischief) some() *tenant { return m.tenants[m.random.IntN(len(m.tenants))] }

func (m *mischief) between(low, high time.Duration) time.Duration {
	return low + time.Duration(m.random.Int64N(int64(high-low)))
}

// fault lets one thing fail.
func (m *mischief) fault() {
	y := m.tally
	switch n := m.random.IntN(100); {
	case n < 22:
		m.setLimit([]string{"a", "b"}[m.random.IntN(2)], m.random.Int64N(7))
		y.count(func(l *tallied) { l.limits++ })
	case n < 44:
		w, ways, last := m.some(), 1+m.random.IntN(3), m.between(300*time.Millisecond, 9*time.Second)
		y.tell("%s is cut off for %v, %d", w.name, last, ways)
		y.count(func(l *tallied) { l.partitions++ })
		m.shut(ways, last, w)
	case n < 54:
		w := m.some()
		y.tell("the connections of %s break", w.name)
		y.count(func(l *tallied) { l.cuts++ })
		w.path.cut(m.unheard())
	case n < 68:
		i := m.random.IntN(len(m.tenants))
		w := m.tenants[i]
		w.crash(m.unheard())
		y.count(func(l *tallied) { l.crashes++ })
		m.later.Go(func() { <-w.ended })
		m.tenants[i] = m.hire(i)
	case n < 76:
		last := m.between(300*time.Millisecond, 9*time.Second)
		y.tell("the server is not heard for %v", last)
		y.count(func(l *tallied) { l.pauses++ })
		m.shut(3, last, m.tenants...)
	case n < 84:
		m.kick()
	case n < 90:
		level := m.random.IntN(4)
		y.tell("severity %d", level)
		y.count(func(l *tallied) { l.severities++ })
		m.site.host.set(func(h *host) { h.memory = []float64{0.2, 0.8, 0.9, 0.97}[level] })
	default:
		m.restart(n < 95)
	}
}

// unheard is how much later the server hears of the end of a connection.
func (m *mischief) unheard() time.Duration {
	if m.random.IntN(2) == 0 {
		return 0
	}
	return m.between(time.Second, 15*time.Second)
}

// shut closes the paths to the server, those from it, or both.
func (m *mischief) shut(ways int, last time.Duration, tenants ...*tenant) {
	var valves []*valve
	for _, w := range tenants {
		if ways&1 != 0 {
			valves = append(valves, &w.path.up)
		}
		if ways&2 != 0 {
			valves = append(valves, &w.path.down)
		}
	}
	for _, v := range valves {
		v.close()
	}
	m.later.Go(func() {
		time.Sleep(last)
		for _, v := range valves {
			v.open()
		}
	})
}

func (m *mischief) setLimit(resource string, n int64) {
	m.tally.limit(resource, n)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, _, _ = m.client.SetLimit(ctx, resource, n)
	m.forget()
}

func (m *mischief) kick() {
	which := m.random.IntN(1 << 20)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, sessions, err := m.client.PermitSessions(ctx, "")
	if err != nil || len(sessions) == 0 {
		return
	}
	one := sessions[which%len(sessions)]
	m.tally.tell("kick %s", one.Client)
	m.tally.count(func(l *tallied) { l.kicks++ })
	_, _ = m.client.KickSession(ctx, one.Name, "chaos")
}

// restart ends or kills the server and starts it again.
func (m *mischief) restart(kill bool) {
	if kill {
		m.tally.tell("the server is killed")
		m.tally.count(func(l *tallied) { l.kills++ })
		m.site.kill(func() {
			m.path.cut(0)
			for _, w := range m.tenants {
				w.path.cut(0)
			}
		})
	} else {
		m.tally.tell("the server ends")
		m.tally.count(func(l *tallied) { l.restarts++ })
		m.site.end()
	}
	m.forget()
	time.Sleep(m.between(0, 3*time.Second))
	m.site.start()
	m.tally.tell("the server is back")
}

// heal ends all faults, and sees that everybody is served.
func (m *mischief) heal() {
	m.tally.tell("nothing fails any more")
	m.site.host.set(func(h *host) { h.memory = 0.2 })
	for _, w := range m.tenants {
		w.path.up.open()
		w.path.down.open()
	}
	time.Sleep(time.Second)
	for resource, n := range siteLimits {
		m.setLimit(resource, n)
	}
	// The window after a restart, or what a client that was kicked stays away, and then the retries.
	time.Sleep(15 * time.Second)
	m.observe()
	var probing sync.WaitGroup
	for _, w := range m.tenants[:6] {
		probing.Go(func() { w.probe(30 * time.Second) })
	}
	probing.Wait()
}

// end ends all tenants, and sees that everything is given back.
func (m *mischief) end() {
	for _, w := range m.tenants {
		close(w.quit)
	}
	for _, w := range m.tenants {
		<-w.ended
		w.die()
	}
	m.tally.tell("all have ended")
	time.Sleep(2 * (permit.DefaultTTL + permit.DefaultGrace))
	resources, sessions, err := m.client.PermitSessions(context.Background(), "")
	if err != nil {
		m.tally.fail("the accounts at the end: %v", err)
	}
	for _, a := range resources {
		if a.Held != 0 || a.Charge != 0 || a.Unknown != 0 || a.Limit != siteLimits[a.Resource] {
			m.tally.fail("the account of %s at the end: %+v, want nothing in use", a.Resource, a)
		}
	}
	if len(sessions) != 0 {
		m.tally.fail("%d sessions at the end, such as %+v", len(sessions), sessions[0])
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	if permits, err := m.client.AcquireAll(ctx, siteLimits); err != nil {
		m.tally.fail("all of all at the end: %v", err)
	} else {
		for i := range permits {
			permits[i].Release()
		}
	}
	cancel()
	m.client.Close()
	m.site.end()
	m.site.lives.Wait()
}
