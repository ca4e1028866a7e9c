// Package task keeps the account of what tasks use: CPU time, memory, threads and processes of each of their named
// process trees or cgroups, and the disk usage of their folder, with a history.
//
// A [Monitor] starts no goroutine, reads no clock and asks no kernel: it is given passes over the processes of the
// host, readings of cgroups and of folders, and the time. What it promises:
//
//  1. CPU time never goes down, and what children used that have ended is in it, as far as their parent waited for
//     them or a pass saw them.
//  2. A process is counted for as long as it is that process, wherever it is moved in the tree; whoever has its pid
//     later is not.
//  3. Time that a process used before anybody looked at it is in no rate.
//  4. What is not known is not zero, and every figure says when it was.
//  5. All histories together take a bounded amount of memory; what is thinned out for that is told by their span.
package task
