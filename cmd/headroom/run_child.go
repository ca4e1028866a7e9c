package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
)

// A child is the command that `headroom run` runs, with what it started. It has headroom's own standard files,
// and where there are process groups one of its own.
type child struct {
	cmd    *exec.Cmd
	cgroup *cgroup // that it runs in alone; nil where none can be made

	stopped chan os.Signal // capacity 1: the signal by which the command was stopped last
	ended   chan struct{}  // closed when the command has ended and code is set
	code    int            // its exit code, or 128 and the number of the signal that ended it
}

// startChild starts a command that was found at path. An error is an exitError.
func startChild(path string, args, env []string) (*child, error) {
	group, err := newCgroup()
	if err == nil {
		c, err := startIn(group, path, args, env)
		if err == nil {
			return c, nil
		}
		group.leave() // the kernel may not let a process begin in it
	}
	return startIn(nil, path, args, env)
}

func startIn(group *cgroup, path string, args, env []string) (*child, error) {
	c := &child{
		cmd:    &exec.Cmd{Path: path, Args: args, Env: env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr},
		cgroup: group, stopped: make(chan os.Signal, 1), ended: make(chan struct{}),
	}
	c.cmd.SysProcAttr = c.confined()
	started := make(chan error, 1)
	go func() {
		// Linux kills the command when the thread ends that started it: this one waits for it.
		runtime.LockOSThread()
		err := c.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		c.code = c.wait()
		close(c.ended)
	}()
	if err := <-started; err != nil {
		code := exitNotExecutable
		if errors.Is(err, fs.ErrNotExist) { // or its interpreter
			code = exitNotFound
		}
		return nil, &exitError{code, err}
	}
	return c, nil
}
