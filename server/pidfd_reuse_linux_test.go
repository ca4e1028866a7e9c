package server

import (
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// The event of a descriptor that was closed meanwhile tells nothing of the one that has its number now.
func TestDeathOfAnEarlierDescriptor(t *testing.T) {
	d := newDeaths(slog.New(slog.DiscardHandler))
	defer d.close()
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Skip("pidfd_open:", err)
	}
	if err := d.add(&death{key: [16]byte{1}, fd: fd, tell: func() {}}); err != nil {
		t.Fatal(err)
	}
	if one := d.take(int32(fd)); one != nil {
		t.Error("a process that lives was told to be dead")
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Skip("no sleep:", err)
	}
	dead, err := unix.PidfdOpen(child.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{})
	if err := d.add(&death{key: [16]byte{2}, fd: dead, tell: func() { close(told) }}); err != nil {
		t.Fatal(err)
	}
	child.Process.Kill()
	child.Wait()
	<-told
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byFD[int32(dead)] != nil || d.byFD[int32(fd)] == nil {
		t.Error("the dead process is still watched, or the one that lives is not")
	}
}
