//go:build unix && !linux

package client

// runSocket is where the server of the system listens. There is no /run outside Linux.
const runSocket = "/var/run/headroom/headroom.sock"
