// Package chaos runs the headroom program and programs that lease permits from it as real processes, and kills,
// stops and restarts them at random. It holds tests only.
package chaos
