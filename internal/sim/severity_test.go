package sim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
)

// steps keeps every transition that one subscriber was told.
type steps struct {
	mu   sync.Mutex
	told []string
	gaps []client.Gap
}

func watchSeverity(t *testing.T, c *client.Client) *steps {
	s := &steps{}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { stop(); <-done })
	go func() {
		defer close(done)
		for u, err := range c.WatchSeverity(ctx, client.SeverityOptions{}) {
			if err != nil {
				t.Errorf("WatchSeverity ended: %v", err)
				return
			}
			s.mu.Lock()
			if u.Transition != nil {
				s.told = append(s.told, fmt.Sprintf("%d>%d", u.Transition.From, u.Transition.To))
				if len(u.Transition.Evidence) == 0 {
					t.Errorf("%d>%d rests on nothing", u.Transition.From, u.Transition.To)
				}
			}
			if u.Gap != 0 {
				s.gaps = append(s.gaps, u.Gap)
			}
			s.mu.Unlock()
		}
	}()
	return s
}

func (s *steps) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

// The limit is the one that was set, not the memory of the host: of 8 GiB three quarters stay free.
func TestHogClimbsThroughTheLevelsOfTheLimitThatWasSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gib = 1 << 30
		s := newService(t)
		s.end()
		s.budget = 2 * gib
		s.host.set(func(h *host) { h.memory = 1.0 / 8 })
		s.start()
		told := watchSeverity(t, s.client())
		time.Sleep(40 * time.Second)
		for _, used := range []float64{1.6, 1.75, 1.97} { // of 2 GiB: 20 %, 12.5 % and 1.5 % are left
			s.host.set(func(h *host) { h.memory = used / 8 })
			time.Sleep(15 * time.Second)
		}
		synctest.Wait()
		if got, want := told.all(), []string{"0>1", "1>2", "2>3"}; !slices.Equal(got, want) {
			t.Errorf("while the hog grew: %v, want %v", got, want)
		}

		s.host.set(func(h *host) { h.memory = 1.0 / 8 })
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if got, want := told.all()[3:], []string{"3>2", "2>1", "1>0"}; !slices.Equal(got, want) {
			t.Errorf("after the hog: %v, want %v", got, want)
		}
	})
}

func TestSeverityIsResumedAndARestartToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		told := watchSeverity(t, s.client())
		time.Sleep(40 * time.Second)
		s.host.set(func(h *host) { h.memory = 0.97 })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got, want := told.all(), []string{"0>1", "1>2", "2>3"}; !slices.Equal(got, want) {
			t.Fatalf("under the hog: %v, want %v", got, want)
		}
		s.end()
		time.Sleep(3 * time.Second)
		s.start()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		told.mu.Lock()
		defer told.mu.Unlock()
		if len(told.gaps) != 1 {
			t.Errorf("told of the gaps %v, want one: the server was restarted", told.gaps)
		}
	})
}
