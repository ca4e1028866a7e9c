package main

import "syscall"

// tie has the kernel kill the command when the thread ends that starts it, and start it in its cgroup.
func (c *child) tie(attributes *syscall.SysProcAttr) {
	attributes.Pdeathsig = syscall.SIGKILL
	if c.cgroup != nil {
		attributes.UseCgroupFD, attributes.CgroupFD = true, int(c.cgroup.folder.Fd())
	}
}

// ownFile returns the file of this program, also where it was replaced.
func ownFile() (string, error) { return "/proc/self/exe", nil }
