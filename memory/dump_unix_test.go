//go:build unix

package memory_test

import (
	"bytes"
	"os"
	"os/signal"
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

// No signal must not mean every signal.
func TestDumpOnNothing(t *testing.T) {
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGUSR1)
	defer signal.Stop(got)
	out := make(sink, 1000)
	stop := memory.NewDumper(out).DumpOn()
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	<-got
	stop()
	stop()
	if len(out) > 0 {
		t.Error("a dump for a signal that was not asked for")
	}
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
