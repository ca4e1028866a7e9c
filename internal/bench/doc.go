// Package bench measures what needs several processes: the cost of the server while the load runs in a
// process of its own. It holds benchmarks only; each re-executes the test binary as its children.
package bench
