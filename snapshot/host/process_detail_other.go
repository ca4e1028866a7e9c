//go:build !linux

package host

// ReadProcessDetail returns what this system tells of it: nothing.
func ReadProcessDetail(int32, uint64) (ProcessDetail, error) { return ProcessDetail{}, nil }

// OwnGroup returns ErrNoGroup: this system has no cgroups.
func (p *Process) OwnGroup() (*Group, error) { return nil, ErrNoGroup }
