package realhost

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// roleEnv has the test binary be a piece of work, or what runs several.
const roleEnv = "HEADROOM_REALHOST_ROLE"

func TestMain(m *testing.M) {
	role, ok := map[string]func() error{"work": work, "pool": runPool, "goroutines": runGoroutines, "burn": burnForEver}[os.Getenv(roleEnv)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := role(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A kind says what one piece of work does.
type kind struct {
	name   string
	cpu    func(*rand.Rand) time.Duration
	sleep  func(*rand.Rand) time.Duration
	memory func(*rand.Rand) int64 // bytes, held for the time of sleep
}

func between(a, b time.Duration) func(*rand.Rand) time.Duration {
	return func(r *rand.Rand) time.Duration { return a + time.Duration(r.Int64N(int64(b-a)+1)) }
}

func none(*rand.Rand) time.Duration { return 0 }

var (
	cpuKind   = kind{name: "cpu", cpu: between(100*time.Millisecond, 200*time.Millisecond), sleep: none}
	ioKind    = kind{name: "io", cpu: between(20*time.Millisecond, 20*time.Millisecond), sleep: between(time.Second, 2*time.Second)}
	shortKind = kind{name: "short", cpu: between(10*time.Millisecond, 10*time.Millisecond), sleep: none}
	mixedKind = kind{name: "mixed", cpu: func(r *rand.Rand) time.Duration {
		if r.IntN(2) == 0 {
			return 150 * time.Millisecond
		}
		return 20 * time.Millisecond
	}, sleep: func(r *rand.Rand) time.Duration {
		if r.IntN(2) == 0 {
			return 0
		}
		return between(time.Second, 2*time.Second)(r)
	}}
	memoryKind = kind{name: "memory", cpu: between(10*time.Millisecond, 20*time.Millisecond), sleep: between(time.Second, 2*time.Second),
		memory: func(r *rand.Rand) int64 { return 20<<20 + r.Int64N(80<<20) }}
)

var kinds = []kind{cpuKind, ioKind, mixedKind, shortKind, memoryKind}

func kindOf(name string) (kind, error) {
	for _, k := range kinds {
		if k.name == name {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("no kind %q", name)
}

// work is one process: KIND and SEED are its arguments. It notes its end in the file that HEADROOM_REALHOST_LOG names.
func work() error {
	runtime.LockOSThread()
	runtime.GOMAXPROCS(1)
	k, err := kindOf(os.Args[1])
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(os.Args[2], 10, 64)
	if err != nil {
		return err
	}
	do(k, seed, processTime)
	log, err := os.OpenFile(os.Getenv(logEnv), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	_, err = fmt.Fprintln(log, time.Now().UnixMicro())
	return err
}

// logEnv names the file to which each piece of work adds a line.
const logEnv = "HEADROOM_REALHOST_LOG"

// do does one piece of work; spent tells the CPU time of whoever does it.
func do(k kind, seed uint64, spent func() time.Duration) {
	r := rand.New(rand.NewPCG(seed, 1))
	cpu, sleep := k.cpu(r), k.sleep(r)
	var held []byte
	if k.memory != nil {
		held = make([]byte, k.memory(r))
		for i := 0; i < len(held); i += 4096 {
			held[i] = byte(i >> 12)
		}
	}
	for until := spent() + cpu; spent() < until; {
	}
	time.Sleep(sleep)
	runtime.KeepAlive(held)
}

func processTime() time.Duration { return rusage(syscall.RUSAGE_SELF) }

func rusage(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// burnForEver keeps one CPU busy.
func burnForEver() error {
	for {
		do(cpuKind, 1, processTime)
	}
}
