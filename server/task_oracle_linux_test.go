package server_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

// oracleProgram tells, for each pid that it reads, what psutil says of the process and all its descendants. What has
// ended and was not waited for is no process, but what it used counts.
const oracleProgram = `
import json, sys, psutil
for line in sys.stdin:
    root = psutil.Process(int(line))
    sum = dict(cpu=0.0, rss=0, vms=0, threads=0, processes=0, status=root.status(), nice=root.nice())
    for p in [root] + root.children(recursive=True):
        try:
            with p.oneshot():
                t, m, threads, status = p.cpu_times(), p.memory_info(), p.num_threads(), p.status()
        except psutil.NoSuchProcess:
            continue
        sum["cpu"] += t.user + t.system + t.children_user + t.children_system
        if status == psutil.STATUS_ZOMBIE:
            continue
        sum["rss"] += m.rss
        sum["vms"] += m.vms
        sum["threads"] += threads
        sum["processes"] += 1
    print(json.dumps(sum), flush=True)
`

// told is what the oracle says of a tree.
type told struct {
	CPU                float64 // seconds
	RSS, VMS           int64
	Threads, Processes int32
	Status             string
	Nice               int8
}

// oracle is psutil in a process of its own.
type oracle struct {
	python string
	*script
}

// askPsutil starts the oracle, or skips the test where no python3 has psutil.
func askPsutil(t *testing.T) *oracle {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import psutil").Run() != nil {
			continue
		}
		cmd := exec.Command(python, "-c", oracleProgram)
		cmd.Stderr = os.Stderr
		o := &oracle{python, piped(t, cmd)}
		t.Cleanup(func() {
			o.in.Close()
			cmd.Wait()
		})
		return o
	}
	t.Skip("no python3 with psutil (Debian: python3-psutil)")
	return nil
}

func (o *oracle) ask(t *testing.T, pid int) (all told) {
	t.Helper()
	fmt.Fprintln(o.in, pid)
	text, err := o.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// psutilStatus is what psutil calls a status.
var psutilStatus = map[string]snapshot.ProcessStatus{
	"running": snapshot.ProcessRunning, "sleeping": snapshot.ProcessSleeping, "disk-sleep": snapshot.ProcessWaiting,
	"stopped": snapshot.ProcessStopped, "tracing-stop": snapshot.ProcessStopped, "idle": snapshot.ProcessIdle,
}

// A sample says what psutil says of the same tree at the same moment: counts, status, nice and virtual memory exactly;
// the CPU time to within 2 % and two of the steps of 10 ms in which the kernel tells it; resident memory to within 2 %
// and the 64 pages by which one process may grow before the count moves that says so.
func TestSampleAgainstPsutil(t *testing.T) {
	o := askPsutil(t)
	const lag = 64 * 4096
	for _, tree := range []struct {
		name, script string
		rounds       int // of work, each ending with a line
		least        told
	}{
		{"a fork tree", `
			branch() { if [ $1 -gt 0 ]; then branch $(($1-1)) <&3 & branch $(($1-1)) <&3 & fi; echo on; read x; }
			exec 3<&0; branch 4 <&3 & echo on; read x`, 32, told{Processes: 32}},
		{"sleepers", `i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i+1)); done; echo on; wait`, 1, told{Processes: 101}},
		{"a burner whose children end", `
			while :; do (i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done); echo on; done`, 20, told{CPU: 0.03}},
		{"two generations that end", `
			while :; do (i=0; while [ $i -lt 20 ]; do (j=0; while [ $j -lt 1000 ]; do j=$((j+1)); done); i=$((i+1)); done)
			echo on; done`, 10, told{CPU: 0.02}},
		{"threads", o.python + ` -c '
import threading, time
for i in range(20): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
print("on", flush=True)
time.sleep(1000)' & wait`, 1, told{Threads: 22}},
		{"a nice tree", `exec nice -n 7 sh -c 'sleep 1000 & echo on; wait'`, 1, told{Processes: 2, Nice: 7}},
		{"a memory hog", `exec ` + o.python + ` -c '
import time
b = bytearray(b"x" * (96 << 20))
print("on", flush=True)
time.sleep(1000)'`, 1, told{RSS: 96 << 20}},
	} {
		t.Run(tree.name, func(t *testing.T) {
			s := run(t, tree.script, "")
			r := observeReal(t, s.pid, "")
			for range tree.rounds {
				s.line(t)
				if tree.rounds > 1 {
					r.pass() // while it works: what it counts for those that end is put right by their parents
				}
			}
			unix.Kill(-s.pid, unix.SIGSTOP)
			for range 400 {
				before := o.ask(t, s.pid)
				got := r.pass().Usage
				want := o.ask(t, s.pid)
				if want != before || want.Processes < tree.least.Processes {
					time.Sleep(5 * time.Millisecond) // not all of it stands still
					continue
				}
				if want.CPU < tree.least.CPU || want.RSS < tree.least.RSS || want.Threads < tree.least.Threads || want.Nice < tree.least.Nice {
					t.Fatalf("psutil says %+v: the tree does not do what it should", want)
				}
				if !got.Known || got.Processes != want.Processes || got.Threads != want.Threads || got.VMS != want.VMS {
					t.Errorf("known %v, %d processes, %d threads, VMS %d; psutil says %d, %d, %d", got.Known,
						got.Processes, got.Threads, got.VMS, want.Processes, want.Threads, want.VMS)
				}
				if !got.StatusKnown || got.Status != psutilStatus[want.Status] || got.Nice != want.Nice {
					t.Errorf("status %v, nice %d; psutil says %s, %d", got.Status, got.Nice, want.Status, want.Nice)
				}
				if off := abs(got.RSS - want.RSS); off > want.RSS/50+lag {
					t.Errorf("RSS %d; psutil says %d", got.RSS, want.RSS)
				}
				if off := got.CPU.Seconds() - want.CPU; max(off, -off) > want.CPU/50+0.02 {
					t.Errorf("CPU time %v; psutil says %v s", got.CPU, want.CPU)
				}
				return
			}
			t.Errorf("the tree never stood still")
		})
	}
}

func abs(n int64) int64 { return max(n, -n) }
