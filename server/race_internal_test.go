//go:build race

package server

// RaceEnabled is whether the race detector makes everything many times slower.
const RaceEnabled = true
