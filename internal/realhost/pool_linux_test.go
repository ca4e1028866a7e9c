package realhost

import (
	"bufio"
	"context"
	"fmt"
	"iter"
	"os"
	"strconv"
	"time"

	"github.com/headroom-rpc/headroom/internal/spawn"
	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// seeds yields the lines of standard input.
func seeds() iter.Seq[string] {
	return func(yield func(string) bool) {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if !yield(lines.Text()) {
				return
			}
		}
	}
}

// machine returns a Snapshotter of this machine that runs.
func machine(ctx context.Context, profile snapshot.Profile) (*snapshot.Snapshotter, error) {
	h, err := host.Open(host.Config{Scope: snapshot.ScopeHost})
	if err != nil {
		return nil, err
	}
	s, err := snapshot.New(snapshot.Config{
		Profile: profile, Scope: snapshot.ScopeHost, AvailableMemoryRatio: 1, Sources: h.Sources(),
	})
	if err != nil {
		return nil, err
	}
	go s.Run(ctx) // to the end of the process
	return s, nil
}

// runPool does pieces of work, a process each, as many at once as the law of Crawlee lets.
func runPool() error {
	ctx := context.Background()
	s, err := machine(ctx, snapshot.ProfileCrawleePython)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := os.Setenv(roleEnv, "work"); err != nil {
		return err
	}
	processes := spawn.Open()
	defer processes.Close()
	return pool.ForEach(ctx, seeds(), func(_ context.Context, seed string) error {
		p, err := processes.Start(&spawn.Command{
			Path: self, Args: []string{self, os.Args[1], seed}, Env: os.Environ(), Stdin: null, Stdout: null, Stderr: os.Stderr,
		})
		if err != nil {
			return err
		}
		p.Exit()
		return nil
	}, pool.Options{Profile: pool.ProfileCrawleePython, Snapshotter: s, Max: 500})
}

// runGoroutines does pieces of work, a goroutine each: as many at once as the second argument says, or as the pool lets
// where that is "pool".
func runGoroutines() error {
	ctx := context.Background()
	k, err := kindOf(os.Args[1])
	if err != nil {
		return err
	}
	var options pool.Options
	if os.Args[2] != "pool" {
		n, err := strconv.ParseInt(os.Args[2], 10, 64)
		if err != nil {
			return err
		}
		options.Min, options.Max, options.Desired = n, n, n
		options.Memory.Off = true
	}
	if options.Snapshotter, err = machine(ctx, snapshot.ProfileHeadroom); err != nil {
		return err
	}
	step, err := time.ParseDuration(os.Getenv(stepEnv))
	if err != nil {
		return err
	}
	log, err := os.OpenFile(os.Getenv(logEnv), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	return pool.ForEach(ctx, seeds(), func(_ context.Context, seed string) error {
		n, err := strconv.ParseUint(seed, 10, 64)
		if err != nil {
			return err
		}
		do(k, n, spin(step))
		_, err = fmt.Fprintln(log, time.Now().UnixMicro())
		return err
	}, options)
}

// stepEnv tells the CPU time of a step of work, so that all contestants do as many steps for the same work.
const stepEnv = "HEADROOM_REALHOST_STEP"

// spin returns a stand-in for the CPU time of a goroutine, which nobody can tell: the sum of its steps of work, each of
// which takes as long as it is told.
func spin(length time.Duration) func() time.Duration {
	x := uint64(1)
	var spent time.Duration
	return func() time.Duration {
		x = step(x)
		if x != 0 { // so that the step is not left out
			spent += length
		}
		return spent
	}
}

func step(x uint64) uint64 {
	for range 100_000 {
		x += x*30 + 7
	}
	return x | 1
}

// measureStep returns the CPU time of a step.
func measureStep() time.Duration {
	const steps = 2000
	x, before := uint64(1), processTime()
	for range steps {
		x = step(x)
	}
	length := (processTime() - before) / steps
	if x == 0 { // never: so that the steps are not left out
		return 1
	}
	return max(1, length)
}
