//go:build unix

package memory_test

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/headroom-rpc/headroom/memory"
)

// sink hands on what is written.
type sink chan []byte

func (s sink) Write(p []byte) (int, error) {
	s <- bytes.Clone(p)
	return len(p), nil
}

func TestDumpOn(t *testing.T) {
	out := make(sink)
	stop := memory.NewDumper(out).DumpOn(syscall.SIGUSR1, syscall.SIGUSR2)
	for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2} {
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		var text string
		for !strings.Contains(text, "TestDumpOn") {
			text += string(<-out)
		}
		if !strings.Contains(text, "live memory by allocation site") {
			t.Errorf("%v: no memory in the dump", sig)
		}
	}
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	for {
		select {
		case <-out: // the rest of the last dump
		case <-stopped:
			return
		}
	}
}
