package limit

import "fmt"

// NewFixed returns the law "fixed": the limit is n, at least 1, whatever the load.
func NewFixed(n int64) (Law, error) {
	if n < 1 {
		return nil, fmt.Errorf("limit: fixed: %d is less than 1", n)
	}
	return fixed(n), nil
}

type fixed int64

func (fixed) Name() string { return "fixed" }

func (n fixed) Step(Input) Decision { return Decision{Limit: int64(n), Binding: "the limit is fixed"} }
