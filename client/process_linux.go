package client

import (
	"bytes"
	"os"
	"strconv"

	"github.com/headroom-rpc/headroom/permit"
)

// ownProcess identifies this process to a server on the same host; it is zero where that cannot be done.
func ownProcess() permit.Process {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return permit.Process{}
	}
	// The name in field 2 is in parentheses and may have some itself; field 3 follows the last one.
	const afterName, startTime = 3, 22
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= startTime-afterName {
		return permit.Process{}
	}
	start, err := strconv.ParseInt(string(fields[startTime-afterName]), 10, 64)
	if err != nil {
		return permit.Process{}
	}
	return permit.Process{PID: int64(os.Getpid()), Start: start}
}
