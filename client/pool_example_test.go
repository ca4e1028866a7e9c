package client_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/pool"
)

// A pool on the permits of a server, which grants two here.
func ExampleNewPool() {
	server := newLessor(1)
	server.give("host", 2)
	machine := newMachine()
	defer machine.serve(&script{permits: server})()
	ctx := context.Background()
	var left, done atomic.Int64
	left.Store(10)

	c, err := client.Dial(ctx, client.WithDialer(machine.dial)) // without options it finds the server of this host
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	p, err := client.NewPool(c, "host", pool.Options{
		Ready: func(context.Context) (bool, error) { return left.Load() > 0, nil },
		Run: func(ctx context.Context) error { // ctx ends when the permit is lost
			if left.Add(-1) >= 0 {
				done.Add(1)
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("run:", p.Run(ctx), "done:", done.Load())
	// Output:
	// run: <nil> done: 10
}

// The other forms of a pool take the permits of a server too.
func ExamplePermits_Pool() {
	server := newLessor(1)
	server.give("host", 2)
	machine := newMachine()
	defer machine.serve(&script{permits: server})()
	ctx := context.Background()
	c, err := client.Dial(ctx, client.WithDialer(machine.dial))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	host, err := c.Permits("host")
	if err != nil {
		log.Fatal(err)
	}
	g, err := pool.NewGroup(ctx, pool.Options{Permits: host.Pool()})
	if err != nil {
		log.Fatal(err)
	}
	var done atomic.Int64
	for range 10 {
		if err := g.Go(func(context.Context) error {
			done.Add(1)
			return nil
		}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("wait:", g.Wait(), "done:", done.Load())
	// Output:
	// wait: <nil> done: 10
}
