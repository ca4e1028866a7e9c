package server

import (
	"os"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot/host"
)

// What one sample of a memory log costs the server: of this process, with and without its details.
func BenchmarkMemorySample(b *testing.B) {
	for _, details := range []bool{true, false} {
		name := "details"
		if !details {
			name = "plain"
		}
		b.Run(name, func(b *testing.B) {
			root, err := host.OpenProcess(b.Context(), os.Getpid())
			if err != nil {
				b.Fatal(err)
			}
			r := newTreeReader()
			t := r.open([]*host.Process{root})
			defer t.close()
			for b.Loop() {
				r.at = time.Time{} // no pass is fresh
				t.detailAt = time.Now().Add(time.Hour)
				if details {
					t.detailAt = time.Time{}
				}
				if _, err := t.memory(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
