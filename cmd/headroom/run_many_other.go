//go:build !unix

package main

import "os"

// endsMany reports whether a signal ends `headroom run` with many commands.
func endsMany(os.Signal) bool { return true }

// pass ends all commands: they cannot be sent signals.
func (m *many) pass(os.Signal) { m.spawner.KillAll() }
