package diagnostics_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/headroom-rpc/headroom/diagnostics"
)

// What a start costs with so many artifacts.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint("artifacts=", n), func(b *testing.B) {
			c := diagnostics.Unsynced(diagnostics.Config{Dir: b.TempDir()})
			s, _, err := diagnostics.Open(c)
			if err != nil {
				b.Fatal(err)
			}
			for i := range n {
				if _, err := write(s, header("uid:1", fmt.Sprint("task-", i), fmt.Sprint(i), "memory_profile"), "x", diagnostics.End{}); err != nil {
					b.Fatal(err)
				}
			}
			s.Close()
			for _, index := range []bool{true, false} {
				b.Run(fmt.Sprint("index=", index), func(b *testing.B) {
					for b.Loop() {
						if !index {
							os.Remove(filepath.Join(c.Dir, "index"))
						}
						s, found, err := diagnostics.Open(c)
						if err != nil || found.Artifacts != n {
							b.Fatal(found, err)
						}
						s.Close()
					}
				})
			}
		})
	}
}

// What it takes to write one sample ahead.
func BenchmarkAppend(b *testing.B) {
	s, _, err := diagnostics.Open(diagnostics.Unsynced(diagnostics.Config{Dir: b.TempDir(), MaxArtifactBytes: 1 << 40, MaxBytes: 1 << 40}))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	line := make([]byte, 80)
	var w *diagnostics.Writer
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%500_000 == 0 {
			if w, err = s.Create(header("uid:1", "t", "", "n")); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Append(line); err != nil {
			b.Fatal(err)
		}
	}
}
