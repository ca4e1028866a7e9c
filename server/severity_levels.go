package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/severity"
)

// severityInterval is the longest time between two evaluations, and the time between two of a process.
const severityInterval = time.Second

// localSteps are the local terms of processLevels, that of the highest level first: a level is entered while the
// process has less than enter percent left of its maximum, and left at leave.
var localSteps = []struct{ enter, leave float64 }{{5, 8}, {15, 20}, {25, 30}}

// processLevels adds to the three highest of the levels what the process has left.
func processLevels(levels []severity.Level) []severity.Level {
	all := make([]severity.Level, len(levels))
	for i, level := range levels {
		if fromTop := len(levels) - 1 - i; fromTop < len(localSteps) {
			step, stay := localSteps[fromTop], level.Stay
			if stay == nil {
				stay = level.Enter
			}
			level.Enter = severity.Any(level.Enter, severity.LocalRelative(step.enter))
			level.Stay = severity.Any(stay, severity.LocalRelative(step.leave))
		}
		all[i] = level
	}
	return all
}

// levels returns the levels of the machine and of processes, with the defaults filled in.
func (c *Config) levels() (host, process []severity.Level) {
	host, process = c.Levels, c.ProcessLevels
	if host == nil {
		host = severity.BuiltinLevels()
	}
	if process == nil {
		process = processLevels(host)
	}
	return host, process
}

// validateLevels returns what is wrong with the levels, each fault with its place.
func (c *Config) validateLevels() error {
	var errs []error
	host, process := c.levels()
	if _, err := severity.New(severity.Config{Levels: host}); err != nil {
		errs = append(errs, fmt.Errorf("Levels: %w", err))
		process = c.ProcessLevels // those that follow from Levels have the same faults
	}
	if _, err := severity.New(severity.Config{Levels: process, ProcessMax: 1}); err != nil {
		errs = append(errs, fmt.Errorf("ProcessLevels: %w", err))
	}
	return errors.Join(errs...)
}
