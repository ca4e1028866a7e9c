package permit_test

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// That a worker uses what it was given for its oldest work is no news: one frame for each permit that goes through
// its hands is enough, that of its release.
func TestLesseeStartsInSilence(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	demand := func(waiting, need int64) { a.Lessee.Demand(room, permit.Demand{Waiting: waiting, Need: need}) }
	demand(1, 1)
	a.now += time.Second
	a.frame(t)
	given := target(1, 1)
	given.Contended = true
	a.targets(given)
	g := a.Gate(room)
	if _, ok := g.TryAcquire(a.now, 1); !ok {
		t.Fatal("refused")
	}
	demand(0, 0)
	a.silent(t)
	if !g.Release(1) {
		t.Error("a release that others wait for is not to be told")
	}
	demand(1, 1)
	if r := a.frame(t).Reports; len(r) != 1 || r[0].Held != 0 || !r[0].HasCeiling || r[0].Want != 1 {
		t.Errorf("reports %+v, want one with nothing held, a ceiling and one wanted", r)
	}
	a.silent(t)
	a.now += 100 * time.Millisecond
	demand(1, 2)
	if r := a.frame(t).Reports; len(r) != 1 || r[0].Need != 2 {
		t.Errorf("reports %+v, want a need of 2 told at once", r)
	}
	demand(1, 1)
	a.silent(t)
	a.now += 100 * time.Millisecond
	if r := a.frame(t).Reports; len(r) != 1 || r[0].Need != 1 {
		t.Errorf("reports %+v, want a need of 1 told 100 ms later", r)
	}
}
