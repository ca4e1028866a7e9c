package client_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// Take on work only while the host is idle.
func ExampleClient_Snapshots() {
	ctx := context.Background()
	c, err := client.Dial(ctx) // finds the server of this host
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for s, err := range c.Snapshots(ctx, client.WatchOptions{}) {
		switch {
		case err != nil:
			log.Fatal(err)
		case s.Stale:
			fmt.Println("no news from the server:", s.Cause)
		case s.Current.State == snapshot.StateOverloaded:
			for _, b := range s.Current.Binding() {
				fmt.Printf("overloaded: %s was over its limit for %.0f %% of the last %v\n", b.Signal, 100*b.Actual, s.Current.Window)
			}
		default:
			fmt.Println(s.Current.State)
		}
	}
}

// Ask once.
func ExampleDial() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.WithAddress("unix:///run/headroom/headroom.sock"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	status, err := c.Status(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.Current.State)
}

// Give up a cache whenever the pressure on the host is high, and say when it is over.
func ExampleClient_Handlers() {
	ctx := context.Background()
	c, err := client.Dial(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	handlers := severity.NewHandlers(severity.HandlersConfig{})
	defer handlers.Close()
	cache := new(sync.Map)
	if _, err := severity.CleanUp(handlers, 2, cache, (*sync.Map).Clear); err != nil {
		log.Fatal(err)
	}
	if _, err := handlers.OnNormal(func(context.Context, severity.Event) error {
		fmt.Println("normal again")
		return nil
	}); err != nil {
		log.Fatal(err)
	}
	if err := c.Handlers(ctx, handlers, client.SeverityOptions{}); err != nil {
		log.Fatal(err)
	}
}

// Run as much as the server lets this program run, and no more, and give up what runs when the permit is lost.
func ExampleClient_Permits() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.WithName("crawler-7"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	host, err := c.Permits("host", client.WithOffline(client.OfflineSafe(1)))
	if err != nil {
		log.Fatal(err)
	}
	var all sync.WaitGroup
	defer all.Wait()
	for range 100 {
		p, err := host.Acquire(ctx, 1) // in turn, with whoever else works on this host
		if err != nil {
			log.Fatal(err)
		}
		all.Go(func() {
			defer p.Release()
			ctx, cancel := p.Guard(ctx)
			defer cancel()
			fmt.Println(crawl(ctx))
		})
	}
}

// Keep two scarce things for one task.
func ExampleClient_AcquireAll() {
	ctx := context.Background()
	c, err := client.Dial(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	permits, err := c.AcquireAll(ctx, map[string]int64{"billing-api": 1, "licences": 2})
	if err != nil {
		log.Fatal(err)
	}
	for i := range permits {
		defer permits[i].Release()
	}
	fmt.Println("one call of the API and two licences, until the function returns")
}

func crawl(ctx context.Context) error { return ctx.Err() }
