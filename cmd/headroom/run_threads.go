package main

import (
	"runtime"
	"sync"
)

// spareThreads is how many threads `headroom run` has made beside one for each core, before the commands can leave no room
// for more: a Go program that gets no thread dies. So many of its goroutines are within system calls at once: to wait for
// processes and for signals, to read arguments, /proc and what the commands printed, and to print it.
const spareThreads = 16

// makeSpareThreads makes them.
func makeSpareThreads() { makeThreads(runtime.GOMAXPROCS(0) + spareThreads) }

// makeThreads has the runtime make at least so many threads, which it keeps. Each goroutine that is tied to its thread
// takes one more.
func makeThreads(n int) {
	var tied, over sync.WaitGroup
	release := make(chan struct{})
	tied.Add(n)
	for range n {
		over.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			tied.Done()
			<-release
		})
	}
	tied.Wait()
	close(release)
	over.Wait()
}
