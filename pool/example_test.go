package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/pool"
)

// A function that finds its work by itself.
func ExamplePool() {
	var left, done atomic.Int64
	left.Store(100)
	p, err := pool.New(pool.Options{
		Ready: func(context.Context) (bool, error) { return left.Load() > 0, nil },
		Run: func(context.Context) error {
			if left.Add(-1) >= 0 {
				done.Add(1)
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	err = p.Run(context.Background())
	fmt.Println(err, done.Load())
	// Output: <nil> 100
}

func ExampleForEach() {
	var sum atomic.Int64
	err := pool.ForEach(context.Background(), slices.Values([]int64{1, 2, 3}), func(_ context.Context, n int64) error {
		sum.Add(n)
		return nil
	})
	fmt.Println(err, sum.Load())
	// Output: <nil> 6
}

func ExampleMap() {
	lengths, err := pool.Map(context.Background(), slices.Values([]string{"a", "bb", "ccc"}),
		func(_ context.Context, s string) (int, error) { return len(s), nil })
	fmt.Println(err, lengths)
	// Output: <nil> [1 2 3]
}

// A target that asks for fewer requests holds up its own tasks only.
func ExampleGroup_Submit() {
	g, err := pool.NewGroup(context.Background(), pool.Options{Max: 1})
	if err != nil {
		log.Fatal(err)
	}
	tries := 0
	for _, task := range []pool.Task{
		{Key: "slow.example", Run: func(context.Context) error {
			if tries++; tries == 1 {
				fmt.Println("slow: 429")
				return pool.RetryAfter(50*time.Millisecond, errors.New("too many requests"))
			}
			fmt.Println("slow: 200")
			return nil
		}},
		{Key: "fast.example", Run: func(context.Context) error {
			fmt.Println("fast: 200")
			return nil
		}},
	} {
		if err := g.Submit(task); err != nil {
			log.Fatal(err)
		}
	}
	if err := g.Wait(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// slow: 429
	// fast: 200
	// slow: 200
}

// Two pools of one program share a limit, two to one.
func ExampleBudget() {
	law, err := limit.NewFixed(3)
	if err != nil {
		log.Fatal(err)
	}
	budget, err := pool.NewBudget(pool.BudgetOptions{Law: law})
	if err != nil {
		log.Fatal(err)
	}
	for _, part := range []struct {
		name   string
		weight int
	}{{"crawl", 2}, {"index", 1}} {
		share, err := budget.Share(part.name, part.weight)
		if err != nil {
			log.Fatal(err)
		}
		err = pool.ForEach(context.Background(), slices.Values([]int{1, 2, 3}),
			func(context.Context, int) error { return nil }, pool.Options{Permits: share})
		fmt.Println(part.name, err)
	}
	// Output:
	// crawl <nil>
	// index <nil>
}
