//go:build linux

package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestServeNotifiesSystemd runs the real program with a socket in systemd's place.
func TestServeNotifiesSystemd(t *testing.T) {
	dir := t.TempDir()
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	told := func() string {
		if err := systemd.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 64)
		n, err := systemd.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:n])
	}
	path, err := exec.LookPath("headroom")
	if err != nil {
		t.Fatal(err)
	}
	serve := exec.Command(path, "serve", "--listen=off", "--socket="+filepath.Join(dir, "run", "h.sock"))
	serve.Env = append(os.Environ(), "HEADROOM_STATE_DIR=off", "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer serve.Process.Kill()
	if got := told(); got != "READY=1" {
		t.Errorf("first told %q, want READY=1", got)
	}
	if err := serve.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := told(); got != "STOPPING=1" {
		t.Errorf("then told %q, want STOPPING=1", got)
	}
	if err := serve.Wait(); err != nil {
		t.Errorf("serve: %v", err)
	}
}
