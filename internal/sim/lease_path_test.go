package sim

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// A path is the way between one program and the server, over all connections that the program opens. It delays,
// stalls and cuts. It is safe for concurrent use.
type path struct {
	up, down valve
	latency  time.Duration // the most that each read takes

	mu     sync.Mutex
	cables map[*cable]struct{}
	ended  bool
}

func newPath(latency time.Duration) *path {
	return &path{latency: latency, cables: make(map[*cable]struct{})}
}

// lay puts a connection of the program's end on the path.
func (p *path) lay(conn net.Conn) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		conn.Close()
		return nil, net.ErrClosed
	}
	c := newCable(conn, p)
	p.cables[c] = struct{}{}
	return c, nil
}

// end cuts all connections, and there are none after them.
func (p *path) end(unheard time.Duration) {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.cut(unheard)
}

// cut ends all connections. The server hears of it later by that much.
func (p *path) cut(unheard time.Duration) {
	p.mu.Lock()
	cables := p.cables
	p.cables = make(map[*cable]struct{})
	p.mu.Unlock()
	for c := range cables {
		c.end(unheard)
	}
}

// A cable is one connection on a path. What comes is read ahead, so that a Read ends with the cable at once: where
// one direction of a connection is seen to have ended before the other, gRPC tries to use it again and again.
type cable struct {
	net.Conn
	path *path
	gone chan struct{} // closed at its end
	once sync.Once
	come chan []byte // closed when no more comes
	rest []byte
}

func newCable(conn net.Conn, p *path) *cable {
	c := &cable{Conn: conn, path: p, gone: make(chan struct{}), come: make(chan []byte)}
	go func() {
		defer close(c.come)
		for {
			b := make([]byte, 16<<10)
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			select {
			case c.come <- b[:n]:
			case <-c.gone:
				return
			}
		}
	}()
	return c
}

func (c *cable) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		select {
		case c.rest = <-c.come:
		case <-c.gone:
			return 0, net.ErrClosed
		}
		if c.path.latency > 0 {
			select {
			case <-time.After(rand.N(c.path.latency)):
			case <-c.gone:
			}
		}
		if !c.path.down.pass(c.gone) {
			return 0, net.ErrClosed
		}
		if len(c.rest) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *cable) Write(b []byte) (int, error) {
	if !c.path.up.pass(c.gone) {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Write(b)
	switch {
	case err == nil:
		return n, nil
	case c.path.down.isShut(): // as long as no reset comes through, what is sent is lost without a word
		return len(b), nil
	default: // a reset ends both directions
		c.end(0)
		return n, err
	}
}

func (c *cable) Close() error {
	c.path.mu.Lock()
	delete(c.path.cables, c)
	c.path.mu.Unlock()
	c.end(0)
	return nil
}

func (c *cable) end(unheard time.Duration) {
	c.once.Do(func() {
		close(c.gone)
		if unheard > 0 {
			time.AfterFunc(unheard, func() { c.Conn.Close() })
			return
		}
		c.Conn.Close()
	})
}

// A valve lets through what waits for it while it is open. The zero valve is open.
type valve struct {
	mu   sync.Mutex
	shut chan struct{} // closed when it opens again; nil while it is open
}

func (v *valve) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shut == nil {
		v.shut = make(chan struct{})
	}
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shut != nil {
		close(v.shut)
		v.shut = nil
	}
}

func (v *valve) isShut() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.shut != nil
}

// pass waits until the valve is open; it returns false if gone is closed first.
func (v *valve) pass(gone <-chan struct{}) bool {
	for {
		v.mu.Lock()
		shut := v.shut
		v.mu.Unlock()
		select {
		case <-gone:
			return false
		default:
		}
		if shut == nil {
			return true
		}
		select {
		case <-shut:
		case <-gone:
			return false
		}
	}
}
