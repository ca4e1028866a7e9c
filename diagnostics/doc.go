// Package diagnostics keeps the evidence of what a task did: memory logs, profiles, traces and logs, as
// artifacts.
//
// A [Store] holds artifacts in one directory. What is appended to one is written ahead, so that whoever is killed
// leaves what was appended before; an artifact becomes visible as sealed only once its content and its manifest
// are on the disk. Nothing that was sealed is lost but by its expiry, by the quota, or by [Store.Delete], and an
// artifact that was cut short says so. Manifests survive a restart: [Open] reads them and seals what an earlier
// process left open.
//
// [Recorders] are what can be recorded, each with what it costs; [Choose] says which of those that a task asks
// for may run. [RecordMemory] samples a task from outside of it into a memory log; see [MemoryLog] for its forms.
package diagnostics
