package client

// runSocket is where the server of the system listens.
const runSocket = "/run/headroom/headroom.sock"
