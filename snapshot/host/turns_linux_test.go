package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// The limits of no cgroup are left alone for longer than they may: those of the own one for 3 s, those of up to three
// ancestors for 5 s.
func TestTurnsComeInTime(t *testing.T) {
	for _, interval := range []time.Duration{50, 100, 250, 500, 700, 995, 1000, 1005, 2000, 3000} {
		interval *= time.Millisecond
		for n := 1; n <= 4; n++ {
			var turns turns
			now := time.Unix(0, 0)
			read := make([]time.Time, n)
			for i := range 1000 {
				first, last := turns.next(now, n)
				if last >= first {
					turns.done(now, first, last)
				}
				for group := range n {
					if first <= group && group <= last {
						read[group] = now
					}
					bound := 5 * time.Second
					if group == 0 {
						bound = 3*time.Second + 15*time.Millisecond
					}
					if age := now.Sub(read[group]); i > 0 && age > bound {
						t.Fatalf("every %v, %d cgroups: limits of number %d are %v old, want at most %v", interval, n, group, age, bound)
					}
				}
				now = now.Add(interval)
			}
		}
	}
}

// A limit that changes shows in time, be it that of the own cgroup or of the last of three ancestors: the own memory.max
// within a second, and any other on memory or CPU time within five.
func TestChangesOfLimitsAreSeenInTime(t *testing.T) {
	const interval = time.Second
	for _, version := range []int{1, 2} {
		files := map[string]string{"memory/%s/memory.limit_in_bytes": "50000000\n", "cpu,cpuacct/%s/cpu.cfs_quota_us": "1000\n"}
		if version == 2 {
			files = map[string]string{"%s/memory.max": "50000000\n", "%s/memory.high": "50000000\n", "%s/cpu.max": "1000 100000\n"}
		}
		for _, path := range []string{"d0/d1/d2/d3", "d0"} {
			for file, limit := range files {
				file = fmt.Sprintf(file, path)
				t.Run(fmt.Sprintf("v%d/%s", version, file), func(t *testing.T) {
					most := 5 * time.Second
					if strings.HasSuffix(file, "d3/memory.max") {
						most = time.Second
					}
					if took := seenAfter(t, version, interval, filepath.Join("sys/fs/cgroup", file), limit); took > most {
						t.Errorf("seen after %v, want at most %v", took, most)
					}
				})
			}
		}
	}
}

// seenAfter returns how long samples at the interval do not see a limit that is lower than all, in the worst case of
// when it is set.
func seenAfter(t *testing.T, version int, interval time.Duration, file, limit string) (longest time.Duration) {
	for offset := range 3 {
		root := nested(t, version, 4, 0)
		synctest.Test(t, func(t *testing.T) {
			h, err := Open(Config{Scope: snapshot.ScopeHost, Root: root})
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			stat, sampleNow := newTickingStat(t, root), sampler(t, h)
			time.AfterFunc(50*time.Millisecond, func() { stat.tick(t) })
			sample := func() {
				time.Sleep(interval)
				stat.tick(t)
				sampleNow()
			}
			sampleNow()
			for range offset {
				sample()
			}
			if err := os.WriteFile(filepath.Join(root, file), []byte(limit), 0o600); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			for time.Since(begun) < 20*time.Second {
				sample()
				memory, err := h.Sources().Memory(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				cpu, err := h.Sources().CPU(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if memory.Total == 50000000 || cpu.Cores == 0.01 {
					break
				}
			}
			longest = max(longest, time.Since(begun))
		})
	}
	return longest
}
