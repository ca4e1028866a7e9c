package severity_test

import (
	"context"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/severity"
)

func ExampleEngine() {
	engine, err := severity.New(severity.Config{Levels: []severity.Level{
		{Enter: severity.GlobalRelative(25), Stay: severity.GlobalRelative(30)},
		{Enter: severity.GlobalRelative(10), Dwell: 10 * time.Second},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, available := range []int64{50, 9, 27, 27, 40} {
		now := time.Duration(i) * 5 * time.Second
		out := engine.Step(severity.Input{At: now, Memory: severity.Memory{
			Available: available, Total: 100, At: now, Known: true,
		}})
		fmt.Printf("%v: level %d, held %q\n", now, out.Level, out.Held)
		for _, e := range out.Events {
			if e.Kind != severity.Remaining {
				fmt.Printf("     %v %d\n", e.Kind, e.Level)
			}
		}
	}
	// Output:
	// 0s: level 0, held ""
	// 5s: level 2, held ""
	//      entered 1
	//      entered 2
	// 10s: level 2, held "dwell"
	// 15s: level 1, held ""
	//      left 2
	// 20s: level 0, held ""
	//      left 1
	//      normal 0
}

// words is a cache that can be filled again.
type words struct{ list []string }

func (w *words) Cleanup() {
	w.list = nil
	fmt.Println("dropped the words")
}

func ExampleHandlers() {
	handlers := severity.NewHandlers(severity.HandlersConfig{})
	defer handlers.Close()
	told := make(chan struct{})

	cache := &words{list: []string{"a", "b"}}
	if _, err := severity.CleanUp(handlers, 1, cache, nil); err != nil {
		fmt.Println(err)
	}
	if _, err := handlers.OnEntered(1, func(_ context.Context, e severity.Event) error {
		fmt.Println("memory is low: level", e.Level)
		return nil
	}); err != nil {
		fmt.Println(err)
	}
	if _, err := handlers.OnNormal(func(context.Context, severity.Event) error {
		fmt.Println("back to normal, words:", len(cache.list))
		close(told)
		return nil
	}); err != nil {
		fmt.Println(err)
	}

	// A Runner does this, or whoever gets the transitions from elsewhere.
	handlers.Apply(severity.Transition{From: 0, To: 1, Sequence: 1})
	handlers.Apply(severity.Transition{From: 1, To: 0, Sequence: 2})
	<-told
	// Output:
	// memory is low: level 1
	// dropped the words
	// back to normal, words: 0
}
