package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/pool"
)

const (
	poolWorkerEnv = "HEADROOM_TEST_POOL_WORKER" // the address of the server
	poolResource  = "api"
)

// TestPoolWorker is no test: it is a child with a pool of its own, which has work until its standard input ends. The
// certificates are in its folder.
func TestPoolWorker(t *testing.T) {
	address := os.Getenv(poolWorkerEnv)
	if address == "" {
		t.Skip("this is a child of TestPoolsInNamespaces")
	}
	f := serverFlags{tlsCA: "ca.pem", tlsCert: "client.pem", tlsKey: "client.key"}
	conf, err := f.tls()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), client.WithAddress(address), client.WithTLS(conf))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var over atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	p, err := client.NewPool(c, poolResource, pool.Options{
		Ready: func(context.Context) (bool, error) { return !over.Load(), nil },
		Run: func(context.Context) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// A netns is a network namespace, with one end of a cable to another.
type netns struct {
	t    *testing.T
	name string
	dir  string // in which its commands run
}

func (n netns) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("ip", append([]string{"netns", "exec", n.name, name}, args...)...)
	cmd.Dir = n.dir
	cmd.Env = append(os.Environ(), "HEADROOM_CONFIG=none.yaml")
	return cmd
}

// newNetns makes two namespaces that a cable joins, and removes them after the test.
func newNetns(t *testing.T, dir string, a, b net.IP) (netns, netns) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root makes network namespaces")
	}
	ip := func(args ...string) {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Skipf("ip %s: %v %s", strings.Join(args, " "), err, out)
		}
	}
	ends := [2]netns{}
	for i := range ends {
		ends[i] = netns{t, fmt.Sprintf("headroom-test-%d-%d", os.Getpid(), i), dir}
		ip("netns", "add", ends[i].name)
		t.Cleanup(func() {
			if out, err := exec.Command("ip", "netns", "delete", ends[i].name).CombinedOutput(); err != nil {
				t.Errorf("delete %s: %v %s", ends[i].name, err, out)
			}
		})
	}
	ip("link", "add", "cable", "netns", ends[0].name, "type", "veth", "peer", "name", "cable", "netns", ends[1].name)
	for i, address := range []net.IP{a, b} {
		ip("-n", ends[i].name, "address", "add", address.String()+"/30", "dev", "cable")
		ip("-n", ends[i].name, "link", "set", "cable", "up")
		ip("-n", ends[i].name, "link", "set", "lo", "up")
	}
	return ends[0], ends[1]
}

// Two workers in one network namespace, each with a pool, share the permits of a server in another one over mutual TLS.
func TestPoolsInNamespaces(t *testing.T) {
	t.Parallel()
	bin, err := exec.LookPath("headroom")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	here, there := net.IPv4(192, 0, 2, 1), net.IPv4(192, 0, 2, 2) // of TEST-NET-1, RFC 5737
	left, right := newNetns(t, dir, here, there)
	if err := writeCertificates(dir, here); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "none.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	server := left.command(bin, "serve", "--listen", here.String()+":0", "--socket", "off", "--state-dir", "off",
		"--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca", "ca.pem",
		"--resource", poolResource+"=4", "--lease-ttl", "2s", "--lease-grace", "100ms")
	said := startProgram(t, server)
	listens := regexp.MustCompile(`address=(\S+) listener=tcp`)
	address := ""
	awaits(t, "a server that listens", func() bool {
		if m := listens.FindStringSubmatch(said()); m != nil {
			address = m[1]
		}
		return address != ""
	})

	permits := func(flags ...string) ([]byte, error) {
		args := append([]string{"permits", poolResource, "-o", "json", "--addr", address, "--tls-ca", "ca.pem"}, flags...)
		return right.command(bin, args...).Output()
	}
	if out, err := permits(); outcome(err) != "3" {
		t.Errorf("without a certificate of its own it exits with %s and says %s, want 3", outcome(err), out)
	}

	var inputs []io.Closer
	var workers []*exec.Cmd
	for range 2 {
		w := right.command(self, "-test.run=^TestPoolWorker$", "-test.v")
		w.Env = append(w.Env, poolWorkerEnv+"="+address)
		in, err := w.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		startProgram(t, w)
		inputs, workers = append(inputs, in), append(workers, w)
	}
	var shares []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("at last: %q", shares)
		}
	})
	awaits(t, "two of the four permits for each", func() bool {
		out, err := permits("--tls-cert", "client.pem", "--tls-key", "client.key")
		if err != nil {
			shares = []string{err.Error()}
			return false // it was too slow for its own limit of time
		}
		var got struct {
			Sessions []struct {
				Identity string
				Shares   []struct{ Charge, Target string }
			}
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		shares = nil
		for _, s := range got.Sessions {
			for _, share := range s.Shares {
				shares = append(shares, fmt.Sprintf("%s %s of %s", s.Identity, share.Charge, share.Target))
			}
		}
		return slices.Equal(shares, []string{"cert:CN=worker 2 of 2", "cert:CN=worker 2 of 2"})
	})
	for i, w := range workers {
		_ = inputs[i].Close()
		if err := w.Wait(); err != nil {
			t.Errorf("worker %d: %v", i+1, err)
		}
	}
}

// startProgram starts a program that ends with the test, and returns what gives what it has said by now.
func startProgram(t *testing.T, cmd *exec.Cmd) func() string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := func() string {
		text, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(bytes.TrimSpace(text))
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		}
		if t.Failed() {
			t.Logf("%v said:\n%s", cmd.Args, said())
		}
	})
	return said
}

// awaits waits until something is so.
func awaits(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}
