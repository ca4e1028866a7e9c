//go:build !unix

package main

import "errors"

// A cgroup there is on Linux only.
type cgroup struct{}

func newCgroup() (*cgroup, error) { return nil, errors.ErrUnsupported }

func (g *cgroup) path() string { return "" }
func (g *cgroup) name() string { return "" }
func (g *cgroup) leave()       {}
