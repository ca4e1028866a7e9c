//go:build linux || darwin

package chaos

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/client"
)

var (
	chaosFor  = flag.Duration("chaos.for", 8*time.Second, "for how long programs and the server are killed, stopped and restarted")
	chaosSeed = flag.Uint64("chaos.seed", 0, "draws who is killed, and when; 0 is another one each time")
)

const (
	chaosLimit   = 5
	chaosWorkers = 32
	chaosTTL     = 2 * time.Second
	chaosGrace   = time.Second

	// patience bounds each wait for what must come.
	patience = 2 * time.Minute

	// alertness is how long after it was woken a program must have noticed what it lost while it was stopped.
	alertness = time.Second
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "" {
		code := m.Run()
		if built != "" {
			os.RemoveAll(built)
		}
		os.Exit(code)
	}
	if err := runWorker(role); err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
}

// built is the directory of the program; empty while there is none.
var built string

// buildHeadroom builds the program once, where go builds too.
var buildHeadroom = sync.OnceValues(func() (string, error) {
	var err error
	if built, err = os.MkdirTemp(os.Getenv("GOTMPDIR"), "headroom-chaos-"); err != nil {
		return "", err
	}
	name := filepath.Join(built, "headroom")
	// Without the revision, which git does not tell of a checkout that belongs to another user.
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", name, "github.com/headroom-rpc/headroom/cmd/headroom")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, text)
	}
	return name, nil
})

// A plant is the server and the programs that work under its permits.
type plant struct {
	t       *testing.T
	dir     string
	flags   []string
	unix    string // the addresses of the server
	tcp     string
	witness *witness
	server  *exec.Cmd
	log     bytes.Buffer // of the servers, one after the other
}

// newPlant starts a server that leases permits of the resource.
func newPlant(t *testing.T, flags ...string) *plant {
	t.Helper()
	headroom, err := buildHeadroom()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "chaos") // that of t is too long for a socket on some systems
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := lis.Addr().String()
	lis.Close()
	socket := filepath.Join(dir, "headroom.sock")
	p := &plant{
		t: t, dir: dir, unix: "unix://" + socket, tcp: address,
		flags: append([]string{headroom, "serve", "--listen", address, "--socket", socket, "--loopback-role", "worker",
			"--state-dir", filepath.Join(dir, "state"), "--resource", fmt.Sprintf("%s=%d", resource, chaosLimit),
			"--drain-timeout", "1s"}, flags...),
	}
	if p.witness, err = openWitness(p.file()); err != nil {
		t.Fatal(err)
	}
	p.start()
	t.Cleanup(func() {
		p.end(syscall.SIGKILL)
		if t.Failed() {
			text := p.log.String()
			t.Logf("the servers said at last:\n%s", text[max(0, len(text)-4000):])
		}
	})
	return p
}

func (p *plant) file() string { return filepath.Join(p.dir, "witness") }

// start starts the next server.
func (p *plant) start() {
	p.server = exec.Command(p.flags[0], p.flags[1:]...)
	p.server.Env = append(os.Environ(), "HOME="+p.dir)
	p.server.Stderr = &p.log
	if err := p.server.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// end ends the server with the signal, and waits for it.
func (p *plant) end(s syscall.Signal) {
	_ = p.server.Process.Signal(s)
	_ = p.server.Process.Signal(syscall.SIGCONT)
	_ = p.server.Wait()
}

// client returns a client that is ready.
func (p *plant) client() *client.Client {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for {
		c, err := client.Dial(ctx, client.WithAddress(p.unix), client.WithName("chaos"))
		if err == nil {
			p.t.Cleanup(func() { c.Close() })
			return c
		}
		if ctx.Err() != nil {
			p.t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A program is one process that works.
type program struct {
	number int
	cmd    *exec.Cmd
	in     io.Closer
	out    io.Reader
	wakes  time.Time // when it was last stopped: when it will have been woken and be alert
}

// run starts a worker.
func (p *plant) run(kind, address string, number int) *program {
	p.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s %s", roleEnv, kind, number, address, p.file()))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return &program{number: number, cmd: cmd, in: in, out: out}
}

// kill ends the program as kill -9 does.
func (p *plant) kill(w *program) {
	if err := p.witness.examine(w.number); err != nil {
		p.t.Error(err)
	}
	p.note(programDies, w.number)
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

func (p *plant) note(kind int32, number int) {
	if err := p.witness.note(kind, number); err != nil {
		p.t.Error(err)
	}
}

// However workers and the server are killed, stopped and restarted, no more than the limit ever runs at once, and
// in the end nothing is lost.
func TestChaos(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d: go test ./internal/chaos -run '^TestChaos$' -chaos.for %v -chaos.seed %d draws the same faults", seed, *chaosFor, seed)
	p := newPlant(t, "--lease-ttl", chaosTTL.String(), "--lease-grace", chaosGrace.String(), "--lease-heartbeat", "500ms")
	p.all() // the first server knows that nothing is in use before it is killed
	began := time.Now()
	number := 0
	hire := func(i int) *program {
		number++
		kind := []string{"attach", "unary", "attach", "call"}[i%4]
		return p.run(kind, []string{p.unix, p.tcp}[i/4%2], number)
	}
	programs := make([]*program, chaosWorkers)
	for i := range programs {
		programs[i] = hire(i)
	}
	between := func(low, high time.Duration) time.Duration {
		return low + time.Duration(random.Int64N(int64(high-low)))
	}
	var later sync.WaitGroup
	for shown := false; time.Since(began) < *chaosFor || !shown && time.Since(began) < *chaosFor+30*time.Second; shown = p.enough() {
		time.Sleep(between(20*time.Millisecond, 250*time.Millisecond))
		p.working() // else a slow machine would only start programs and kill them
		i := random.IntN(len(programs))
		w := programs[i]
		switch n := random.IntN(100); {
		case n < 55:
			p.kill(w)
			programs[i] = hire(i)
		case n < 82:
			p.stop(w, &later, between(50*time.Millisecond, chaosTTL+2*chaosGrace))
		case n < 89:
			_ = p.server.Process.Signal(syscall.SIGSTOP)
			time.Sleep(between(10*time.Millisecond, chaosTTL+chaosGrace/2))
			_ = p.server.Process.Signal(syscall.SIGCONT)
		default:
			how := syscall.SIGKILL
			if n < 92 {
				how = syscall.SIGTERM
			}
			p.note(serverFails, 0)
			p.end(how)
			down := between(time.Millisecond, 500*time.Millisecond)
			if random.IntN(3) == 0 { // long enough for leases to end
				down += chaosTTL
			}
			time.Sleep(down)
			p.start()
		}
	}
	later.Wait()
	for _, w := range programs {
		w.in.Close()
	}
	for _, w := range programs {
		p.gone(w)
	}
	p.all()
	said, err := p.witness.judge(chaosLimit)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v in %v", said, time.Since(began).Round(time.Millisecond))
	if !said.enough() {
		t.Errorf("too little happened for this to show anything: %+v", said)
	}
}

// enough reports whether what happened shows that the limit holds: it was reached, and more than once.
func (said testimony) enough() bool {
	return said.starts >= 20 && said.most >= chaosLimit && said.kills >= 3 && said.serverFailures >= 1
}

// enough reports whether enough has happened so far.
func (p *plant) enough() bool {
	said, _ := p.witness.judge(chaosLimit) // an error is found again at the end
	return said.enough()
}

// working waits for the next piece of work to start, but not long: there may be a reason why none does.
func (p *plant) working() {
	before, _ := p.witness.judge(chaosLimit)
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if said, _ := p.witness.judge(chaosLimit); said.starts > before.starts {
			return
		}
	}
}

// stop stops a program, unless it is stopped already, and wakes it later.
func (p *plant) stop(w *program, later *sync.WaitGroup, last time.Duration) {
	if time.Now().Before(w.wakes) {
		return
	}
	w.wakes = time.Now().Add(last + 2*alertness)
	p.note(programSleeps, w.number)
	_ = w.cmd.Process.Signal(syscall.SIGSTOP)
	later.Go(func() {
		time.Sleep(last)
		_ = w.cmd.Process.Signal(syscall.SIGCONT)
		time.Sleep(alertness)
		p.note(programWakes, w.number)
	})
}

// gone waits for a program whose input was closed.
func (p *plant) gone(w *program) {
	p.t.Helper()
	late := time.AfterFunc(patience, func() { _ = w.cmd.Process.Signal(syscall.SIGQUIT) })
	defer late.Stop()
	if err := w.cmd.Wait(); err != nil {
		p.t.Errorf("program %d: %v", w.number, err)
	}
}

// all reports an error unless all permits can be had.
func (p *plant) all() {
	p.t.Helper()
	c := p.client()
	h, err := c.Permits(resource)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	began := time.Now()
	all, err := h.Acquire(ctx, chaosLimit)
	if err != nil {
		resources, sessions, _ := c.PermitSessions(p.t.Context(), resource)
		p.t.Fatalf("all %d permits at the end: %v\nresources %+v\nsessions %+v", chaosLimit, err, resources, sessions)
	}
	p.t.Logf("all %d permits were back after %v", chaosLimit, time.Since(began).Round(time.Millisecond))
	all.Release()
}

// What a program on the unix socket holds that is killed is free at once, long before its lease is over.
func TestKilledProgramFreesItsPermits(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells of the death of a process at the other end of a socket")
	}
	p := newPlant(t, "--lease-ttl", "1s", "--lease-grace", "100ms", "--lease-heartbeat", "300ms")
	p.all()
	p.end(syscall.SIGTERM) // the next one knows that nothing is in use
	p.flags = append(p.flags, "--lease-ttl", "5m", "--lease-grace", "5m")
	p.start()
	c := p.client()
	for number := range 5 {
		holder := p.run("hold", p.unix, number)
		if _, err := io.ReadFull(holder.out, make([]byte, len("held\n"))); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		type result struct {
			at  time.Time
			err error
		}
		got := make(chan result, 1)
		go func() {
			p, err := c.Acquire(ctx, resource)
			got <- result{time.Now(), err}
			p.Release()
		}()
		p.waiting(c)
		killed := time.Now()
		p.kill(holder)
		r := <-got
		if r.err != nil {
			t.Errorf("after the holder was killed: %v", r.err)
		}
		t.Logf("free after %v", r.at.Sub(killed))
		cancel()
	}
}

// waiting waits until somebody waits for a permit.
func (p *plant) waiting(c *client.Client) {
	p.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		resources, _, err := c.PermitSessions(p.t.Context(), resource)
		if err != nil {
			p.t.Fatal(err)
		}
		if resources[0].Want > chaosLimit {
			return
		}
	}
	p.t.Fatal("nobody waits")
}
