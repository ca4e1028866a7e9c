package expr_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/severity/expr"
	"github.com/headroom-rpc/headroom/snapshot"
)

// What a Snapshotter reads of pressure is what the psi variables say, and where it reads none, why.
func TestPressureOfASnapshotter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := snapshot.New(snapshot.Config{
			Sources: snapshot.Sources{
				CPU: func(context.Context) (snapshot.CPUReading, error) { return snapshot.CPUReading{}, nil },
				Memory: func(context.Context) (snapshot.MemoryReading, error) {
					return snapshot.MemoryReading{Used: 150, Total: 1000, Tightest: snapshot.MemoryLevel{
						Used: 90, Total: 100, Limit: "memory.max of /pod"}}, nil
				},
				Pressure: func(_ context.Context, stalled snapshot.Resource) (snapshot.PressureReading, error) {
					switch stalled {
					case snapshot.Memory:
						return snapshot.PressureReading{Some: 0.3, Full: 0.1, FullKnown: true}, nil
					case snapshot.CPU:
						return snapshot.PressureReading{Some: 0.5}, nil
					default:
						return snapshot.PressureReading{}, errors.New("no PSI for I/O")
					}
				},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(3*time.Second + time.Millisecond)
		v, _, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		<-done
		in := severity.NewReader(severity.ReaderConfig{}).Read(v)
		for _, tt := range []struct {
			text   string
			want   severity.Truth
			signal string
			reason string
		}{
			{"psi.memory.some > 0.29", severity.True, "pressure_memory", ""},
			{"psi.memory.full > 0.1", severity.False, "pressure_memory", ""},
			{"psi.cpu.some > 0.4", severity.True, "pressure_cpu", ""},
			{"psi.cpu.full > 0.1", severity.Unknown, "pressure_cpu", "full pressure is not known"},
			{"psi.io.some > 0.1", severity.Unknown, "pressure_io", "no PSI for I/O"},
			{"psi.io.full >= 0.1", severity.Unknown, "pressure_io", "no PSI for I/O"},
			{"psi.memory.some + psi.io.some > 0.1", severity.Unknown, "pressure_memory, pressure_io", "pressure_io: no PSI for I/O"},
		} {
			c, err := expr.Compile(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if f := c.Judge(&in); f.Truth != tt.want || f.Signal != tt.signal || f.Reason != tt.reason {
				t.Errorf("%s: %v of %q because %q, want %v of %q because %q",
					tt.text, f.Truth, f.Signal, f.Reason, tt.want, tt.signal, tt.reason)
			}
		}
		for _, text := range []string{
			"memory.available < 11", "memory.available <= 10", "memory.used / memory.total > 0", "memory.used_ratio > 0.1 == true",
		} {
			c, err := expr.Compile(text)
			if err != nil {
				t.Fatal(err)
			}
			if f := c.Judge(&in); f.Limit != "memory.max of /pod" || f.LimitBytes != 100 {
				t.Errorf("%s looked at %q of %d, want memory.max of /pod of 100", text, f.Limit, f.LimitBytes)
			}
		}
	})
}
