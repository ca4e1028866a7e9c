// Package sim runs the whole of headroom, real gRPC included, in testing/synctest bubbles: a made-up host,
// a real server, real clients, and faults between them, in fake time. It holds tests only.
package sim
