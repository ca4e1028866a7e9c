package server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
)

// countingPool is a mem.BufferPool that knows how many buffers were taken and how many are out.
type countingPool struct{ taken, out atomic.Int64 }

func (p *countingPool) Get(n int) *[]byte {
	p.out.Add(1)
	p.taken.Add(1)
	buf := make([]byte, n)
	return &buf
}

func (p *countingPool) Put(*[]byte) { p.out.Add(-1) }

func TestIdleConnectionsHoldNoReadBuffer(t *testing.T) {
	l := listenLoopback(t)
	guarded := newGuard(Limits{}.WithDefaults(), slog.New(slog.DiscardHandler)).wrap(l)
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := guarded.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pool := &countingPool{}
	type result struct {
		text string
		err  error
	}
	read := func() <-chan result {
		done := make(chan result, 1)
		go func() {
			buf, n, err := conn.(*guardedConn).ReadOnReady(1<<10, pool)
			if err != nil {
				done <- result{"", err}
				return
			}
			done <- result{string((*buf)[:n]), nil}
			pool.Put(buf)
		}()
		return done
	}
	done := read()
	eventually(t, "it found no input and gave its buffer back", func() bool {
		return pool.taken.Load() > 0 && pool.out.Load() == 0
	})
	select {
	case got := <-done:
		t.Fatalf("ReadOnReady returned %v before there was input", got)
	default:
	}
	io.WriteString(client, "hello")
	if got := <-done; got.text != "hello" || got.err != nil {
		t.Errorf("ReadOnReady = %q, %v, want hello", got.text, got.err)
	}
	client.Close()
	if got := <-read(); !errors.Is(got.err, io.EOF) {
		t.Errorf("after the client closed: %v, want io.EOF", got.err)
	}
	conn.Close()
	if got := <-read(); !errors.Is(got.err, net.ErrClosed) {
		t.Errorf("after Close: %v, want net.ErrClosed", got.err)
	}
	eventually(t, "all buffers are back", func() bool { return pool.out.Load() == 0 })
}
