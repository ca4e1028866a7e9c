package host

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

func TestParseProcessStat(t *testing.T) {
	const rest = " S 7 8 9 0 -1 4194304 1 2 3 4 150 250 350 450 20 -5 3 0 12345 4096000 10 18446744073709551615 1 1 0\n"
	for _, comm := range []string{"x", "a b", "(x) R 1", ") S 1 2 (", "\n"} {
		e, err := parseStat([]byte("42 (" + comm + ")" + rest))
		want := snapshot.ProcessEntry{
			PID: 42, Parent: 7, Session: 9, Start: 12345, Known: true, User: 1500 * time.Millisecond, System: 2500 * time.Millisecond,
			ChildUser: 3500 * time.Millisecond, ChildSystem: 4500 * time.Millisecond, RSS: 10 * pageSize, VMS: 4096000,
			Threads: 3, Nice: -5, Status: snapshot.ProcessSleeping,
		}
		if err != nil || e != want {
			t.Errorf("%q: %+v, %v, want %+v", comm, e, err, want)
		}
	}
	for _, text := range []string{"", "1", "1 (x", "x (x) S 1", "1 (x) S 1 2 3", "1 (x) S x" + rest, "99999999999 (x)" + rest} {
		if e, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q: %+v, want an error", text, e)
		}
	}
}

func FuzzParseProcessStat(f *testing.F) {
	f.Add([]byte("42 (x) S 7 8 9 0 -1 4194304 1 2 3 4 150 250 350 450 20 -5 3 0 12345 4096000 10 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if e, err := parseStat(text); err == nil && (e.PID < 0 || e.User < 0 || e.ChildSystem < 0) {
			t.Errorf("%q: %+v", text, e)
		}
	})
}

// A container calls its first process 1.
