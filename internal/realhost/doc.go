// Package realhost tries `headroom run` and pools of goroutines on the machine that it runs on, in a cgroup with a
// limit on memory, beside xargs -P at its best constant, GNU parallel and the law of Crawlee. It holds tests only, and
// each re-executes the test binary as the work that is done. It needs Linux, and the right to make cgroups of version 1.
//
// A smoke of it runs with all tests. `make realhost` runs all of it, for about half an hour, on a machine that should do
// nothing else, and prints the tables of docs/run.md; REALHOST=TestRealHost/memory runs only that part. Each constant does
// half of the work once; then the best of them and headroom do all of it three times by turns, the same pieces in the same
// order, and the medians count.
package realhost
