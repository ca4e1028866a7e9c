package server

import (
	"context"
	"fmt"
	"strings"
)

// Role is what a caller may do. A greater role may do all that a lesser one may.
type Role uint8

// The roles. The zero Role means "the default" in an [Access] and grants nothing anywhere else.
const (
	// RoleNone may call nothing.
	RoleNone Role = iota + 1
	// RoleReader may read status, samples and health.
	RoleReader
	// RoleWorker may also report its own load.
	RoleWorker
	// RoleObserver may also read what belongs to others.
	RoleObserver
	// RoleOperator may do everything.
	RoleOperator
)

var roleNames = [...]string{RoleNone: "none", RoleReader: "reader", RoleWorker: "worker",
	RoleObserver: "observer", RoleOperator: "operator"}

// String returns the role's name as [ParseRole] takes it, or Role(N) for a value that is no role.
func (r Role) String() string {
	if r < RoleNone || int(r) >= len(roleNames) {
		return fmt.Sprintf("Role(%d)", uint8(r))
	}
	return roleNames[r]
}

// ParseRole returns the role of that name: none, reader, worker, observer or operator.
func ParseRole(name string) (Role, error) {
	for r := RoleNone; int(r) < len(roleNames); r++ {
		if roleNames[r] == name {
			return r, nil
		}
	}
	return 0, fmt.Errorf("role %q is not one of %s", name, strings.Join(roleNames[RoleNone:], ", "))
}

// valid reports whether r is one of the named roles.
func (r Role) valid() bool { return r >= RoleNone && r <= RoleOperator }

// Identity is who makes a call.
type Identity struct {
	// Name identifies the caller in logs and owns what the caller makes: uid:1000, token:ci,
	// cert:spiffe://example.org/worker, cert:CN=worker-1, loopback or anonymous.
	Name string

	// Role is what the caller may do.
	Role Role

	// UID and PID are those of the process that connected, as the kernel gave them when it did. They are
	// -1 when they are not known, as they are over TCP. A pid says nothing about a process that may
	// have ended since.
	UID, PID int

	// Local is true for a caller on this host: over the unix socket or over loopback.
	Local bool
}

// String returns the name and the role.
func (id Identity) String() string { return id.Name + " (" + id.Role.String() + ")" }

// IdentityFrom returns who makes the call that ctx belongs to. It is false outside a call to a Server.
// Within one it is known before any interceptor runs; a caller whose token was refused is known by its
// connection.
func IdentityFrom(ctx context.Context) (Identity, bool) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return Identity{}, false
	}
	return c.identity, true
}
