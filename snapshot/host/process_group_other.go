//go:build !linux

package host

import (
	"context"

	"github.com/headroom-rpc/headroom/snapshot"
)

// Group is one cgroup; there are none here.
type Group struct{}

// OpenGroup returns ErrNoGroup here.
func OpenGroup(string) (*Group, error) { return nil, ErrNoGroup }

// Path returns the path as the kernel names it.
func (g *Group) Path() string { return "" }

// OwnedBy reports whether the group is the user's in every hierarchy that has it.
func (g *Group) OwnedBy(int) bool { return false }

// Read returns ErrNoGroup here.
func (g *Group) Read(bool) (snapshot.GroupReading, error) { return snapshot.GroupReading{}, ErrNoGroup }

// PIDs returns ErrNoGroup here.
func (g *Group) PIDs(to []int32) ([]int32, error) { return to, ErrNoGroup }

// Close releases nothing here.
func (g *Group) Close() {}

// ResolvePID returns pid: there are no pid namespaces here.
func ResolvePID(_ context.Context, _, pid int) (int, error) { return pid, nil }
