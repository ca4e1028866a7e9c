package host

import (
	"fmt"
	"testing"
	"time"

	gops "github.com/shirou/gopsutil/v3/process"
	"golang.org/x/sys/unix"
)

// gopsutilFlat lists all processes by gopsutil, as one would who knows not to ask it for children, and reads what a
// sample has of those of a tree.
func gopsutilFlat(root int32) (found int) {
	all, err := gops.Processes()
	if err != nil {
		return 0
	}
	for _, p := range all {
		if parent, err := p.Ppid(); err == nil && (parent == root || p.Pid == root) {
			found++
			p.Times()
			p.MemoryInfo()
			p.NumThreads()
			p.CreateTime()
		}
	}
	return found
}

// BenchmarkScan is a pass over a tree of that many sleepers, beside the bare system calls for the same, and beside
// gopsutil.
func BenchmarkScan(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 5000} {
		b.Run(fmt.Sprintf("processes=%d", n), func(b *testing.B) {
			pid, said, _ := shell(b, fmt.Sprintf(`i=0; while [ $i -lt %d ]; do sleep 600 & i=$((i+1)); done; echo on; read x`, n-1))
			line(b, said)
			s := openProcesses(b, n+100)
			p := pass(b, s, true)
			watch := func() {
				for i := range p.Watch {
					p.Watch[i] = p.PID[i] == int32(pid) || p.Parent[i] == int32(pid)
				}
			}
			watch()
			p = pass(b, s, false)
			fds := s.heldFiles(nil)
			cpu := func() time.Duration {
				var r unix.Rusage
				unix.Getrusage(unix.RUSAGE_SELF, &r)
				return time.Duration(r.Utime.Nano() + r.Stime.Nano())
			}
			bare := func() {
				unix.Seek(s.proc, 0, unix.SEEK_SET)
				for {
					if n, _ := unix.Getdents(s.proc, s.list); n <= 0 {
						break
					}
				}
				for _, fd := range fds {
					unix.Pread(int(fd), s.text, 0)
				}
			}
			var scan, baseline time.Duration
			b.ReportAllocs()
			for b.Loop() {
				at := cpu()
				bare()
				mid := cpu()
				p = pass(b, s, false)
				scan, baseline = scan+cpu()-mid, baseline+mid-at
				fds = s.heldFiles(fds[:0])
			}
			b.ReportMetric(float64(scan.Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(scan)/float64(baseline), "x-bare")
			at := cpu()
			if found := gopsutilFlat(int32(pid)); found < n {
				b.Fatalf("gopsutil found %d processes of %d", found, n)
			}
			b.ReportMetric(float64(cpu()-at)*float64(b.N)/float64(scan), "x-cheaper-than-gopsutil")
		})
	}
}

// heldFiles appends the files that the scanner keeps open.
func (s *ProcessScanner) heldFiles(fds []int32) []int32 {
	for i := range s.nowKept {
		if fd := s.nowKept[i].fd; fd >= 0 {
			fds = append(fds, fd)
		}
	}
	return fds
}
