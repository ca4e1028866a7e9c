// Package sim runs the whole of headroom, real gRPC included, in testing/synctest bubbles: a made-up host,
// a real server, real clients, and faults between them, in fake time. It holds tests only.
//
// # Simulated hosts
//
// The files hostsim_* hold a simulated host for the limit laws: cores in processor sharing, waits, memory that
// grows, thrashing and kills near its limit, a neighbour, a target that answers 429, and sensors that are late and
// noisy. Its tests compare it with the theory of queues and with measurements of a real host. On it run the
// scenarios of scenarios(), each against the best constant limit; what that is was found by a sweep and is in
// testdata/hostsim_best.txt.
//
//	go test ./internal/sim -run TestLawScenarios -v -hostsim.law twostation -hostsim.cores 2,8 -hostsim.seeds 1
//
// prints scenario by law in seconds: throughput in percent of the best constant for the objective, the time to nine
// tenths of it, the share of 100 ms ticks after that with a run queue over twice the cores, jobs killed by the kernel
// and cancelled for want of memory in all seeds, and Jain's index of the CPU seconds of the pools. -hostsim.law takes
// several names, and constant is the best one; -hostsim.scenario takes a part of a name. The work is done by the real
// pool of package pool, in a bubble. With -hostsim.direct the law is stepped directly instead, by a driver that plays
// the pool's part; -hostsim.trace then prints each step.
//
//	go test ./internal/sim -run '^TestSweep$' -timeout 1h -hostsim.sweep [-hostsim.scenario NAME]
//
// finds the constants anew, which is needed after a change of a scenario or of the host. make sim-report runs all,
// writes the tables of docs/limit-laws.md, and lists in testdata/hostsim_missed.txt which goals are missed and by how
// much; TestLawReachesItsGoals holds the law to the others, and to what it reaches of those.
package sim
