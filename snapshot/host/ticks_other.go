//go:build !linux

package host

import "github.com/headroom-rpc/headroom/snapshot"

func newTicks() snapshot.Ticks { return nil }
