package bench

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkRunTrue runs `true` 10,000 times by headroom run, and beside it by xargs -P and GNU parallel with as many at
// once as there are CPUs, in turns. The figure is the CPU time of the program and its children, a command, and the ratio
// to that of xargs; the goal is 1.6. GNU parallel runs a tenth as many.
func BenchmarkRunTrue(b *testing.B) {
	if _, err := exec.LookPath("xargs"); err != nil {
		b.Skip(err)
	}
	headroom := buildProgram(b)
	const commands = 10_000
	cpus, err := exec.Command("nproc").Output()
	if err != nil {
		b.Skip(err)
	}
	p := strings.TrimSpace(string(cpus))
	tools := []struct {
		name string
		n    int
		line []string
	}{
		{"xargs", commands, []string{"xargs", "-P", p, "-n", "1", "true"}},
		{"headroom", commands, []string{headroom, "run", "-n", "1", "true"}},
		{"headroom-ungroup", commands, []string{headroom, "run", "--ungroup", "-n", "1", "true"}},
		{"parallel", commands / 10, []string{"parallel", "--will-cite", "-j", p, "true"}},
	}
	spent := make([]time.Duration, len(tools))
	missing := make([]bool, len(tools))
	for b.Loop() {
		for i, tool := range tools {
			if _, err := exec.LookPath(tool.line[0]); err != nil {
				missing[i] = true
				continue
			}
			spent[i] += cpuOfTool(b, tool.n, tool.line)
		}
	}
	for i, tool := range tools {
		if missing[i] {
			b.Logf("%s is not there", tool.line[0])
			continue
		}
		each := spent[i] / time.Duration(tool.n*b.N)
		b.ReportMetric(float64(each.Microseconds()), tool.name+"-µs")
		if i > 0 {
			b.ReportMetric(float64(each)/float64(spent[0]/time.Duration(commands*b.N)), tool.name+"/xargs")
		}
	}
}

// cpuOfTool returns the CPU time of a program that gets n lines, and of its children.
func cpuOfTool(b *testing.B, n int, line []string) time.Duration {
	b.Helper()
	var input bytes.Buffer
	for i := range n {
		input.WriteString(strconv.Itoa(i) + "\n")
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdin = &input
	cmd.Env = append(os.Environ(), "HEADROOM_ADDR=unix:///nonexistent")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		b.Fatalf("%v: %v\n%s", line, err, out)
	}
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
