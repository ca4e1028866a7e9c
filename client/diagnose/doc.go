// Package diagnose records a task from inside of a Go program, for the diagnostics of a headroom server: profiles of
// CPU and allocations, execution traces, goroutines, logs, and any file.
//
// [Start] asks the server what may be recorded, and records that until [Session.Finish]. Several tasks of one program
// can be recorded at once: they share the one CPU profiler and the one flight recorder that the runtime has, and a
// profile holds the samples of its own task alone where the task runs under [Session.Do]. What was recorded is
// uploaded as it is made, so that a program that is killed leaves it: of profiles, what there was up to the last
// window.
package diagnose
