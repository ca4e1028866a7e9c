package snapshot_test

import (
	"context"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

func ExampleSnapshotter() {
	s, err := snapshot.New(snapshot.Config{
		Sources: snapshot.Sources{ // host.NewSources reads the machine
			CPU: func(context.Context) (snapshot.CPUReading, error) {
				return snapshot.CPUReading{Used: 0.99, Cores: 8, Source: "example"}, nil
			},
			Memory: func(context.Context) (snapshot.MemoryReading, error) {
				return snapshot.MemoryReading{Used: 1 << 30, Total: 16 << 30, Source: "example"}, nil
			},
		},
		Disabled: []string{snapshot.SignalEventLoop},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	<-s.Ready()
	view, _, err := s.View()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("load:", view.Current.State)
	for _, sig := range view.Current.Binding() {
		fmt.Printf("because %s is at %.2f of %.2f\n", sig.Signal, sig.Value, sig.Bound)
	}
	stop()
	fmt.Println("end:", <-done)
	// Output:
	// load: overloaded
	// because cpu is at 0.99 of 0.95
	// end: <nil>
}
