package bench

import (
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// runRawSend is the floor: it writes frames of the size that it is told to every connection at the pace
// that it is told, from one goroutine a core.
//
// It prints its port, then answers "wait N" once N connections came in, "go SIZE MILLISECONDS" at once,
// "stop" at once, and "cpu" with its CPU time.
func runRawSend(p *peer) error {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := p.send(lis.Addr().(*net.TCPAddr).Port); err != nil {
		return err
	}
	const senders = 2
	var conns [senders][]net.Conn
	accepted := make(chan net.Conn)
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	quit := make(chan struct{})
	var running sync.WaitGroup
	for {
		words, err := p.receive()
		if err != nil {
			return err
		}
		switch words[0] {
		case "wait":
			n, _ := strconv.Atoi(words[1])
			for i := range n {
				conns[i%senders] = append(conns[i%senders], <-accepted)
			}
			err = p.send(n)
		case "go":
			size, _ := strconv.Atoi(words[1])
			ms, _ := strconv.Atoi(words[2])
			quit = make(chan struct{})
			for i := range senders {
				running.Go(func() { writeFrames(conns[i], size, time.Duration(ms)*time.Millisecond, quit) })
			}
			err = p.send(0)
		case "stop":
			close(quit)
			running.Wait()
			err = p.send(0)
		case "cpu":
			err = p.send(cpuNanos())
		}
		if err != nil {
			return err
		}
	}
}

func writeFrames(conns []net.Conn, size int, every time.Duration, quit <-chan struct{}) {
	frame := make([]byte, size)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
		}
		for _, conn := range conns {
			if _, err := conn.Write(frame); err != nil {
				return
			}
		}
	}
}

// runRawReceive reads frames. It answers "dial PORT N SIZE" once all connections stand, "await N"
// once N more frames were received, and "count" with all that were.
func runRawReceive(p *peer) error {
	var received atomic.Int64
	for {
		words, err := p.receive()
		if err != nil {
			return err
		}
		switch words[0] {
		case "dial":
			n, _ := strconv.Atoi(words[2])
			size, _ := strconv.Atoi(words[3])
			for range n {
				conn, err := net.Dial("tcp", "127.0.0.1:"+words[1])
				if err != nil {
					return err
				}
				go func() {
					frame := make([]byte, size)
					for {
						if _, err := io.ReadFull(conn, frame); err != nil {
							return
						}
						received.Add(1)
					}
				}()
			}
			err = p.send(n)
		case "await":
			err = p.send(await(&received, words[1]))
		case "count":
			err = p.send(received.Load())
		}
		if err != nil {
			return err
		}
	}
}
