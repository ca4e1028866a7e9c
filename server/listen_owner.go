package server

import (
	"context"
	"fmt"
	"net"
	"time"

	gopsnet "github.com/shirou/gopsutil/v3/net"
	"github.com/shirou/gopsutil/v3/process"
)

// ownerTimeout bounds the search for the process that is in the way: it reads every process's open files.
const ownerTimeout = 2 * time.Second

// portOwner describes the process that listens on the port of addr.
func portOwner(addr *net.TCPAddr) string {
	ctx, cancel := context.WithTimeout(context.Background(), ownerTimeout)
	defer cancel()
	conns, err := gopsnet.ConnectionsWithContext(ctx, "tcp")
	if err != nil {
		return "a process that could not be found out: " + err.Error()
	}
	for _, c := range conns {
		if c.Status == "LISTEN" && int(c.Laddr.Port) == addr.Port && overlap(addr.IP, net.ParseIP(c.Laddr.IP)) && c.Pid > 0 {
			return describeProcess(ctx, int(c.Pid))
		}
	}
	return "a process that this user may not see"
}

// overlap reports whether a listener on b keeps one on a from the same port.
func overlap(a, b net.IP) bool {
	wildcard := func(ip net.IP) bool { return len(ip) == 0 || ip.IsUnspecified() }
	return wildcard(a) || wildcard(b) || a.Equal(b)
}

// describeProcess names the process by its pid and command. It leaves out the arguments, which can hold
// secrets.
func describeProcess(ctx context.Context, pid int) string {
	if pid <= 0 {
		return "a process of unknown pid"
	}
	p, err := process.NewProcessWithContext(ctx, int32(pid))
	if err != nil {
		return fmt.Sprintf("pid %d", pid)
	}
	name, err := p.NameWithContext(ctx)
	if err != nil || name == "" {
		return fmt.Sprintf("pid %d", pid)
	}
	return fmt.Sprintf("pid %d, command %q", pid, clip(name))
}
