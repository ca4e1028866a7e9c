//go:build !linux

package server

import (
	"context"
	"log/slog"

	"github.com/headroom-rpc/headroom/permit"
)

// deaths tells of nothing here: only Linux proves the death of a process at the other end of a socket.
type deaths struct{}

func newDeaths(*slog.Logger) *deaths { return &deaths{} }

func (*deaths) made(context.Context, permit.Process) bool { return false }

func (*deaths) watch(context.Context, [16]byte, func()) {}

func (*deaths) forget([16]byte) {}

func (*deaths) close() {}
