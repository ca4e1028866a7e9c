package client_test

import (
	"context"
	"fmt"
	"log"

	"github.com/headroom-rpc/headroom/client"
)

// Permits, against a server that grants two.
func ExamplePermits() {
	server := newLessor(1)
	server.give("host", 2)
	machine := newMachine()
	stop := machine.serve(&script{permits: server})
	defer stop()
	c, err := client.Dial(context.Background(), client.WithDialer(machine.dial))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	host, err := c.Permits("host")
	if err != nil {
		log.Fatal(err)
	}
	first, err := host.Acquire(context.Background(), 1) // waits for the server's first word
	if err != nil {
		log.Fatal(err)
	}
	second, ok := host.TryAcquire(1)
	fmt.Println("second:", ok, "after the first:", second.Fence().Compare(first.Fence()) > 0)
	_, ok = host.TryAcquire(1)
	fmt.Println("third:", ok, "with", host.Held(), "of", host.Limit())
	first.Release()
	second.Release()
	// Output:
	// second: true after the first: true
	// third: false with 2 of 2
}
