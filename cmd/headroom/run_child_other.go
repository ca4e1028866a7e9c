//go:build !unix

package main

import (
	"errors"
	"os"
	"syscall"
)

// passedOn are the signals that headroom leaves to the command: what a console sends reaches both.
var passedOn = []os.Signal{os.Interrupt}

func ends(os.Signal) bool { return true }

func (c *child) confined() *syscall.SysProcAttr { return nil }

func (c *child) wait() int {
	_ = c.cmd.Wait() // the state says it too
	return c.cmd.ProcessState.ExitCode()
}

// terminate ends the command: there is no way to ask it.
func (c *child) terminate() { c.kill() }

func (c *child) kill() { _ = c.cmd.Process.Kill() } // it may have ended

func (c *child) left() bool { return false }

func ownGroup() *syscall.SysProcAttr { return nil }

func apart() *syscall.SysProcAttr { return nil }

func ownFile() (string, error) { return "", errors.ErrUnsupported }

func (w *watchdog) say(*leash) error { return errors.ErrUnsupported }

func beWatchdog() int { return exitRun }

// A terminal is one that is shared with the command by itself.
type terminal struct{}

func openTerminal() *terminal { return nil }

func (t *terminal) close() {}

func (t *terminal) pass(os.Signal, *child) {}

func (t *terminal) stopped(os.Signal, *child) {}
