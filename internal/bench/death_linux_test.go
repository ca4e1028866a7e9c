package bench

import (
	"bufio"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/server"
)

func init() {
	roles["deathserver"] = runDeathServer
	roles["deathholder"] = runDeathHolder
}

// deathLimit is how many permits there are, all held by the process that is killed.
const deathLimit = 4

// BenchmarkDeath kills processes with SIGKILL that hold all permits of a resource over the unix socket, and measures
// until another process that waits has one. The lease of the dead would be over only after 3 s.
//
//	p50-us, p99-us  from before the signal is sent until the waiter has the permit
func BenchmarkDeath(b *testing.B) {
	d := newDeaths(b)
	var took []time.Duration
	for b.Loop() {
		took = append(took, d.kill(b))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e3, "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-us")
	b.ReportMetric(0, "ns/op")
}

// TestDeath runs the benchmark once, so that its children keep working.
func TestDeath(t *testing.T) {
	newDeaths(t).kill(t)
}

// deaths has a server, in a process of its own, and the one who waits.
type deaths struct {
	socket  string
	client  *client.Client
	permits *client.Permits
}

func newDeaths(b testing.TB) *deaths {
	b.Helper()
	dir, err := os.MkdirTemp("", "death")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	srv, stop := start(b, "deathserver")
	b.Cleanup(stop)
	d := &deaths{socket: filepath.Join(dir, "headroom.sock")}
	srv.ask(b, d.socket)
	c, err := client.Dial(b.Context(), client.WithAddress("unix://"+d.socket))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	d.client = c
	if d.permits, err = c.Permits("forge"); err != nil {
		b.Fatal(err)
	}
	d.take(b) // once the server knows that nothing is in use
	return d
}

// take takes one permit, gives it back, and returns when it had it.
func (d *deaths) take(b testing.TB) time.Time {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	p, err := d.permits.Acquire(ctx, 1)
	if err != nil {
		b.Error(err)
	}
	had := time.Now()
	p.Release()
	return had
}

// kill has a process take all permits, kills it while this one waits, and returns how long that waited.
func (d *deaths) kill(b testing.TB) time.Duration {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=deathholder")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	(&peer{in: bufio.NewReader(out), out: in}).ask(b, d.socket)
	waited := make(chan time.Time, 1)
	go func() {
		waited <- d.take(b)
	}()
	for { // until the server knows that it waits
		resources, _, err := d.client.PermitSessions(b.Context(), "forge")
		if err != nil {
			b.Fatal(err)
		}
		if resources[0].Want > deathLimit {
			break
		}
	}
	begin := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	took := (<-waited).Sub(begin)
	_ = cmd.Wait() // says only that it was killed
	return took
}

// runDeathServer serves permits on the socket that it is told.
func runDeathServer(p *peer) error {
	words, err := p.receive()
	if err != nil {
		return err
	}
	snapshotter, err := new(madeUp).snapshotter()
	if err != nil {
		return err
	}
	lis, err := server.ListenUnix(words[0])
	if err != nil {
		return err
	}
	srv, err := server.New(server.Config{
		Snapshotter: snapshotter, Listeners: []*server.Listener{lis}, Version: "bench", Log: slog.New(slog.DiscardHandler),
		Permits: server.PermitConfig{
			Resources: []permit.Resource{{Name: "forge", Limit: deathLimit}},
			TTL:       2900 * time.Millisecond, Grace: 100 * time.Millisecond,
		},
	})
	if err != nil {
		return err
	}
	go srv.Run(context.Background())
	if err := p.send(0); err != nil {
		return err
	}
	_, err = p.receive()
	return err
}

// runDeathHolder takes all permits from the server on the socket that it is told, and says so.
func runDeathHolder(p *peer) error {
	words, err := p.receive()
	if err != nil {
		return err
	}
	c, err := client.Dial(context.Background(), client.WithAddress("unix://"+words[0]))
	if err != nil {
		return err
	}
	h, err := c.Permits("forge")
	if err != nil {
		return err
	}
	if _, err := h.Acquire(context.Background(), deathLimit); err != nil {
		return err
	}
	if err := p.send(0); err != nil {
		return err
	}
	_, err = p.receive()
	return err
}
