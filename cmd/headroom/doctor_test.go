package main

import (
	"io"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/snapshot/host"
)

func TestDoctorTextKeepsToItsColumns(t *testing.T) {
	const advice = "if this limit is for headroom alone and not for the workers, start it with --cgroup host"
	text := doctorText([]host.Finding{
		{Area: host.AreaLimits, Name: "cpu", Detail: "0.5 cores, cpu.max of /a.service", Advice: advice},
		{Area: host.AreaLimits, Name: "memory", Detail: "64.0 MiB, memory.max of /a.service", Advice: advice},
		{Area: host.AreaSignals, Name: "memory", State: host.FindingMissing, Detail: "stat /" + strings.Repeat("long/", 20) + "x: no such file"},
	}, 80)
	var b strings.Builder
	if _, err := io.WriteString(coloured(&b), text); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(b.String(), "\n\n") // after the version
	const want = `limits
  cpu              ok       0.5 cores, cpu.max of /a.service
  memory           ok       64.0 MiB, memory.max of /a.service
                            -> if this limit is for headroom alone and not for
                               the workers, start it with --cgroup host

signals
  memory           missing  stat
                            /long/long/long/long/long/long/long/long/long/long/l
                            ong/long/long/long/long/long/long/long/long/long/x:
                            no such file
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
