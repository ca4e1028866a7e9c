//go:build !race

package server

// raceEnabled is whether the race detector makes everything many times slower.
const raceEnabled = false
