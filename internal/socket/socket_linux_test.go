package socket_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/headroom-rpc/headroom/internal/loopback"
	"github.com/headroom-rpc/headroom/internal/socket"
)

// pair returns both ends of a connection.
func pair(t *testing.T, network string) (near, far net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if far, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

func sockets(t *testing.T, run func(t *testing.T, s *socket.Socket, near, far net.Conn)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			if network == "tcp" {
				loopback.Need(t)
			}
			near, far := pair(t, network)
			s, ok := socket.Of(near)
			if !ok {
				t.Fatal("it has no socket")
			}
			run(t, s, near, far)
		})
	}
}

func TestOfOtherConnections(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if _, ok := socket.Of(near); ok {
		t.Error("a pipe in memory has a socket")
	}
}

// More than the kernel takes at once is written in full, while the other end reads.
func TestWriteAll(t *testing.T) {
	sockets(t, func(t *testing.T, s *socket.Socket, near, far net.Conn) {
		want := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
		got := make(chan []byte)
		go func() {
			all, _ := io.ReadAll(far)
			got <- all
		}()
		n, err := s.Write(want)
		if n != len(want) || err != nil {
			t.Errorf("Write = %d, %v, want %d", n, err, len(want))
		}
		near.Close()
		if all := <-got; !bytes.Equal(all, want) {
			t.Errorf("%d bytes came, or others, want %d", len(all), len(want))
		}
	})
}

// As of any connection, several goroutines may write and read at once: all comes, and comes once.
func TestConcurrentCalls(t *testing.T) {
	sockets(t, func(t *testing.T, s *socket.Socket, near, far net.Conn) {
		other, ok := socket.Of(far)
		if !ok {
			t.Fatal("the other end has no socket")
		}
		const calls, size = 8, 1 << 18
		var writers, readers sync.WaitGroup
		for i := range calls {
			writers.Go(func() {
				if n, err := s.Write(bytes.Repeat([]byte{byte(i)}, size)); n != size || err != nil {
					t.Errorf("Write = %d, %v, want %d", n, err, size)
				}
			})
		}
		var read [calls][calls]int // by the reader and the byte
		for i := range calls {
			readers.Go(func() {
				for {
					buf, n, err := other.ReadOnReady(1<<12, mem.DefaultBufferPool())
					if err != nil {
						if err != io.EOF {
							t.Errorf("read: %v, want io.EOF in the end", err)
						}
						return
					}
					for _, b := range (*buf)[:n] {
						read[i][b%calls]++
					}
					mem.DefaultBufferPool().Put(buf)
				}
			})
		}
		writers.Wait()
		near.Close()
		readers.Wait()
		for b := range calls {
			got := 0
			for i := range calls {
				got += read[i][b]
			}
			if got != size {
				t.Errorf("%d bytes of writer %d came, want %d", got, b, size)
			}
		}
	})
}

func TestRead(t *testing.T) {
	sockets(t, func(t *testing.T, s *socket.Socket, near, far net.Conn) {
		pool := mem.DefaultBufferPool()
		if _, err := far.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"hel", "lo"} {
			buf, n, err := s.ReadOnReady(3, pool)
			if err != nil {
				t.Fatal(err)
			}
			if got := string((*buf)[:n]); got != want {
				t.Errorf("read %q, want %q", got, want)
			}
			pool.Put(buf)
		}
		far.Close()
		if _, _, err := s.ReadOnReady(3, pool); err != io.EOF {
			t.Errorf("after the other end closed: %v, want io.EOF", err)
		}
	})
}

func TestDeadlines(t *testing.T) {
	sockets(t, func(t *testing.T, s *socket.Socket, near, far net.Conn) {
		if err := near.SetDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.ReadOnReady(3, mem.DefaultBufferPool()); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v, want that the deadline is exceeded", err)
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v, want that the deadline is exceeded", err)
		}
	})
}

func TestClosed(t *testing.T) {
	sockets(t, func(t *testing.T, s *socket.Socket, near, far net.Conn) {
		ended := make(chan error)
		go func() {
			_, _, err := s.ReadOnReady(3, mem.DefaultBufferPool())
			ended <- err
		}()
		near.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v, want net.ErrClosed", err)
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v, want net.ErrClosed", err)
		}
	})
}

// oneBuffer is a pool of one buffer.
type oneBuffer struct{ buf []byte }

func (p *oneBuffer) Get(size int) *[]byte {
	p.buf = p.buf[:size]
	return &p.buf
}

func (p *oneBuffer) Put(*[]byte) {}

func TestAllocatesNothing(t *testing.T) {
	sockets(t, func(t *testing.T, s *socket.Socket, _, far net.Conn) {
		other, ok := socket.Of(far)
		if !ok {
			t.Fatal("the other end has no socket")
		}
		pool, message := &oneBuffer{make([]byte, 8)}, []byte("hello")
		var faults []error
		allocs := testing.AllocsPerRun(200, func() {
			_, writeErr := s.Write(message)
			_, _, readErr := other.ReadOnReady(8, pool)
			if writeErr != nil || readErr != nil {
				faults = append(faults, writeErr, readErr)
			}
		})
		if allocs != 0 || len(faults) > 0 {
			t.Errorf("a write and a read allocate %v times, want none: %v", allocs, errors.Join(faults...))
		}
	})
}
