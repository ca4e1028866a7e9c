package task_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
)

// kernel plays at random a tree that forks, works, ends, is waited for or not, and is reparented.
type kernel struct {
	rnd   *rand.Rand
	w     *world
	next  int32
	truth time.Duration // what the tree used in all
	lost  time.Duration // what a pass cannot tell: of those that somebody outside of the tree waited for
}

func (k *kernel) step() {
	procs := k.w.procs
	i := 1 + k.rnd.IntN(len(procs)-1) // the first one is outside
	p := &procs[i]
	switch roll := k.rnd.IntN(10); {
	case p.status == snapshot.ProcessZombie:
		k.reap(i)
	case roll < 4:
		p.user += 10 * ms
		k.truth += 10 * ms
	case roll < 7 && len(procs) < 40:
		k.next++
		k.w.procs = append(procs, proc{
			pid: k.next, parent: p.pid, session: p.session, start: uint64(k.w.now / (10 * ms)),
		})
	case i > 1 && roll < 9: // the root stays
		p.status = snapshot.ProcessZombie
		for c := range procs {
			if procs[c].parent == p.pid {
				procs[c].parent = 1
			}
		}
		if k.rnd.IntN(2) == 0 {
			k.reap(i)
		}
	}
}

// reap has the parent wait for a process, or the first process if that is it.
func (k *kernel) reap(i int) {
	p := k.w.procs[i]
	k.w.procs = append(k.w.procs[:i:i], k.w.procs[i+1:]...)
	for c := range k.w.procs {
		if parent := &k.w.procs[c]; parent.pid == p.parent && parent.pid != 1 {
			parent.child += p.user + p.child
			return
		}
	}
	k.lost += p.user + p.child
}

// Whatever a tree does, no time is counted twice, none goes back, and none is lost but what a kernel tells nobody.
func TestTimeOfRandomTrees(t *testing.T) {
	for _, parts := range []int{0, 1, 5} {
		t.Run(fmt.Sprintf("parts=%d", parts), func(t *testing.T) { playRandomTrees(t, parts) })
	}
}

// playRandomTrees plays trees of which up to so many parts are named too, as the play goes on.
func playRandomTrees(t *testing.T, parts int) {
	counted := time.Duration(0)
	for seed := range uint64(300 / (1 + parts)) {
		w := newWorld(t, task.Config{Interval: time.Second})
		w.procs = []proc{{pid: 1, session: 1}, {pid: 2, parent: 1, session: 2, start: uint64(w.now / (10 * ms))}}
		k := &kernel{rnd: rand.New(rand.NewPCG(seed, 7)), w: w, next: 2}
		n := w.register("t", task.Process{Name: "p", PID: 2, Start: w.procs[1].start})
		w.outside[n[0]] = &task.Outside{}
		w.pass(0)
		last, named := time.Duration(0), 0
		for range 40 {
			if named < parts && k.rnd.IntN(5) == 0 {
				part := w.procs[1+k.rnd.IntN(len(w.procs)-1)]
				if _, err := w.m.AddProcesses("t", []task.Process{{Name: "part", PID: part.pid, Start: part.start}}); err != nil {
					t.Fatal(err)
				}
				named++
			}
			for range k.rnd.IntN(30) {
				w.now += 10 * ms
				k.step()
			}
			w.pass(10 * ms)
			s := w.sample("t")
			got := s.Usage.CPU
			if got < last || got > k.truth || got < k.truth-k.lost {
				t.Fatalf("seed %d: CPU %v after %v, want from %v to %v", seed, got, last, k.truth-k.lost, k.truth)
			}
			if n := s.Processes[0].Usage.Processes; s.Usage.Processes != n {
				t.Fatalf("seed %d: %d processes of which the tree has %d", seed, s.Usage.Processes, n)
			}
			last = got
		}
		counted += last
	}
	if counted < 30*time.Second {
		t.Errorf("only %v of CPU time was played", counted)
	}
}
