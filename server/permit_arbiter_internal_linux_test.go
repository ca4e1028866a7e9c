package server

import (
	"context"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// A worker whose target is written down is told of it, also where its sender came for it while what a queue was given was
// still being written.
func TestWhoAskedDuringAWriteIsTold(t *testing.T) {
	srv, client, _ := runPermits(t, nil)
	call, end := context.WithTimeout(t.Context(), callTimeout)
	defer end()

	// A file that takes a write for each that was read.
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_DIRECT|unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	read, write := os.NewFile(uintptr(fds[0]), "read"), os.NewFile(uintptr(fds[1]), "write")
	defer read.Close()
	defer write.Close()
	if _, err := unix.FcntlInt(write.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()); err != nil {
		t.Fatal(err)
	}
	if _, err := write.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	a, stream := journalTo(t, srv, write), attachForOne(call, t, client)
	if _, err := stream.Recv(); err != nil { // the welcome
		t.Fatal(err)
	}
	var worker *attached
	eventually(t, "the write of a target to wait", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, worker = range a.streams {
		}
		return a.writing && worker != nil
	})
	granted := make(chan error, 1)
	go func() {
		_, err := client.AcquirePermit(call, &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: "1"})
		granted <- err
	}()
	eventually(t, "both to be decided on as far as can be", func() bool {
		resp, err := client.ListSessions(call, &headroomv1.ListSessionsRequest{})
		return err == nil && len(resp.GetSessions()) == 2
	})
	if _, err := read.Read(make([]byte, 1)); err != nil { // so that the target is written
		t.Fatal(err)
	}
	eventually(t, "the write of what the queue is given to wait, and the sender to have come", func() bool {
		written, err := unix.IoctlGetInt(int(read.Fd()), unix.TIOCINQ)
		a.mu.Lock()
		defer a.mu.Unlock()
		worker.mu.Lock()
		defer worker.mu.Unlock()
		return err == nil && written > 1 && a.writing && !worker.sending && !worker.targets
	})
	go io.Copy(io.Discard, read)
	if err := <-granted; err != nil {
		t.Errorf("AcquirePermit = %v once it could be written down", err)
	}
	for told := false; !told; {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatalf("no target came: %v", err)
		}
		told = len(resp.GetTargets()) > 0
	}
}
