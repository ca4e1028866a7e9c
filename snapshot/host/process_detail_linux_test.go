package host_test

import (
	"errors"
	"os"
	"testing"

	"github.com/headroom-rpc/headroom/snapshot/host"
)

func TestReadProcessDetail(t *testing.T) {
	p, err := host.OpenProcess(t.Context(), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	d, err := host.ReadProcessDetail(int32(os.Getpid()), p.Start())
	if err != nil || !d.PSSKnown || !d.SwapKnown || !d.PeakKnown {
		t.Fatalf("of this process: %+v, %v, want all of it", d, err)
	}
	if d.PSS < 1<<20 || d.Peak < d.PSS || d.Swap < 0 {
		t.Errorf("of this process: %+v", d)
	}
	if _, err := host.ReadProcessDetail(int32(os.Getpid()), p.Start()+1); !errors.Is(err, host.ErrNoProcess) {
		t.Errorf("of whoever had the pid before: %v, want ErrNoProcess", err)
	}
	if _, err := host.ReadProcessDetail(1<<22, 1); !errors.Is(err, host.ErrNoProcess) {
		t.Errorf("of no process: %v, want ErrNoProcess", err)
	}
}

func TestOwnGroup(t *testing.T) {
	p, err := host.OpenProcess(t.Context(), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	g, err := p.OwnGroup()
	if err == nil {
		g.Close()
		t.Skipf("the tests run in a cgroup of their own, %s", g.Path())
	}
	if !errors.Is(err, host.ErrNoGroup) {
		t.Errorf("a process in the cgroup of its parent: %v, want ErrNoGroup", err)
	}
}
