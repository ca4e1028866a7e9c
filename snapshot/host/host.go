// Package host reads how much of the CPUs and of the memory is in use, as sources for a snapshot.Snapshotter: of
// this host, within the limits of the cgroups that this process is in, or of this process and its descendants.
//
// On Linux the limit on memory is the tightest of all: the memory of the host, and memory.max and memory.high of the
// cgroup and of each ancestor that can be seen, or memory.limit_in_bytes and memory.memsw.limit_in_bytes in version
// 1. Which version has a controller is decided for each by itself. What a cgroup uses is its working set: its usage
// without the page cache that was not used lately (inactive_file), which the kernel drops first. New page cache of a
// cgroup can count as used by its ancestors for up to 2 s: the kernel adds up the use at once, and the page cache
// within that time. What is left is the least of what any of those limits leaves, since a parent may be full of what
// its other children use, and no more than the host has available. Limits are read anew once a second; where there
// are ancestors, in turn, so that no sample has to read all of them: memory.max of the cgroup itself every second,
// its others every 3 s, and those of up to three ancestors every 5 s. The membership is read every 30 s, and so is
// what ancestors let be used of the swap. Where a limit is known and the use under it cannot be read, the reading is
// an error: the figures of the host would be wrong. Where no cgroup can be seen there is no limit but the host's,
// and MemoryReading.Source says why.
//
// A reading in ScopeHost is that of the limit with the least left. In ScopeProcess it is what this process and all
// its descendants use, against the least limit: on Linux the sum of their proportional set sizes (PSS), which
// counts a shared page once, elsewhere the sum of their resident set sizes (RSS), which counts a shared page once
// for each process. On Linux a process whose PSS cannot be read, or is zero, counts with its RSS;
// MemoryReading.Definition says how many did. One that ended, or that the kernel hides from this user, counts
// nothing, and so does one whose parent ended first, since it left the tree. It is an error when this process
// itself cannot be read. To read a PSS makes the kernel walk the process's page tables, about 20 ms for each GiB
// that is resident.
//
// On Linux it reads /proc, or the directory that the environment variable HOST_PROC names. A container that is to
// judge the host, and not what itself may use, sets Config.Cgroup to NoCgroup. Elsewhere it asks gopsutil, and on
// macOS the CPU times need a build with cgo.
package host
