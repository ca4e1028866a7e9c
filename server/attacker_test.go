package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// attacker speaks raw HTTP/2 to a server.
type attacker struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
	next   uint32 // the next stream
	gone   chan struct{}

	mu     sync.Mutex
	status map[uint32]string // grpc-status by stream
	resets map[uint32]http2.ErrCode
	goAway http2.ErrCode
}

func newAttacker(t *testing.T, p *probeServer) *attacker {
	t.Helper()
	conn, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	a := &attacker{t: t, conn: conn, framer: http2.NewFramer(conn, conn), next: 1, gone: make(chan struct{}),
		status: map[uint32]string{}, resets: map[uint32]http2.ErrCode{}}
	a.framer.AllowIllegalWrites = true
	a.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	// A server that no longer reads is no reason to wait for it.
	conn.SetWriteDeadline(time.Now().Add(callTimeout))
	io.WriteString(conn, http2.ClientPreface)
	a.framer.WriteSettings()
	go a.read()
	return a
}

func (a *attacker) read() {
	defer close(a.gone)
	for {
		frame, err := a.framer.ReadFrame()
		if err != nil {
			var stream http2.StreamError
			if errors.As(err, &stream) {
				continue
			}
			return
		}
		a.mu.Lock()
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				if field.Name == "grpc-status" {
					a.status[f.StreamID] = field.Value
				}
			}
		case *http2.RSTStreamFrame:
			a.resets[f.StreamID] = f.ErrCode
		case *http2.GoAwayFrame:
			a.goAway = f.ErrCode
		}
		a.mu.Unlock()
	}
}

// isGone reports whether the server has closed the connection.
func (a *attacker) isGone() bool {
	select {
	case <-a.gone:
		return true
	default:
		return false
	}
}

// answer waits for the end of a stream and returns its grpc-status, or how it was reset.
func (a *attacker) answer(id uint32) string {
	a.t.Helper()
	var got string
	eventually(a.t, fmt.Sprintf("an answer on stream %d", id), func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		if got = a.status[id]; got != "" {
			return true
		}
		if code, ok := a.resets[id]; ok {
			got = code.String()
			return true
		}
		return false
	})
	return got
}

func headers(path string) []string {
	return []string{":method", "POST", ":scheme", "http", ":path", path, ":authority", "test",
		"content-type", "application/grpc", "te", "trailers"}
}

func block(fields []string) []byte {
	var text bytes.Buffer
	encoder := hpack.NewEncoder(&text)
	encoder.SetMaxDynamicTableSize(0)
	for i := 0; i < len(fields); i += 2 {
		encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return text.Bytes()
}

// padding returns n headers of 1 KiB, which take 640 bytes each on the wire.
func padding(n int) []string {
	var fields []string
	for i := range n {
		fields = append(fields, fmt.Sprintf("x-%d", i), strings.Repeat("e", 1<<10))
	}
	return fields
}

// open begins a stream and returns its id.
func (a *attacker) open(fields []string) (uint32, error) {
	const most = 16 << 10 // of one frame
	id, text := a.next, block(fields)
	a.next += 2
	part := text[:min(len(text), most)]
	text = text[len(part):]
	err := a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: part, EndHeaders: len(text) == 0})
	for err == nil && len(text) > 0 {
		part = text[:min(len(text), most)]
		text = text[len(part):]
		err = a.framer.WriteContinuation(id, len(text) == 0, part)
	}
	return id, err
}

// call sends a whole call and returns its stream.
func (a *attacker) call(fields []string, message []byte) uint32 {
	a.t.Helper()
	id, err := a.open(fields)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.framer.WriteData(id, true, message); err != nil {
		a.t.Fatal(err)
	}
	return id
}

// framed is a gRPC message on the wire.
func framed(flag byte, text []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(text))), text...)
}

const checkPath = healthpb.Health_Check_FullMethodName
