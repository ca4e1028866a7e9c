package permit_test

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// The more sessions there are, the more seldom those that begin are to be heard, but three times in a TTL.
func TestHeartbeatIsStretched(t *testing.T) {
	c := config(1)
	c.TTL, c.Heartbeat = 5*time.Second, time.Second
	l, err := permit.NewLedger(0, c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]time.Duration{
		1: time.Second, 500: time.Second, 600: 1200 * time.Millisecond, 800: 1600 * time.Millisecond,
		850: c.TTL / 3, 3000: c.TTL / 3,
	}
	for i := 1; i <= 3000; i++ {
		w, err := l.Attach(0, permit.Party{Identity: "uid:1", Unbounded: true}, permit.Hello{Client: "w"})
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := want[i]; ok && w.Heartbeat != d {
			t.Errorf("session %d is to be heard every %v, want %v", i, w.Heartbeat, d)
		}
	}
}
