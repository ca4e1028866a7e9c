package host

import (
	"context"
	"errors"
	"unsafe"

	"golang.org/x/sys/windows"
)

// scan returns the processes of the host, in one pass. gopsutil takes a new list of all processes for each
// parent that it is asked for, which is quadratic.
func scan(ctx context.Context) (all []process, err error) {
	list, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, windows.CloseHandle(list)) }()
	entry := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(list, &entry); err == nil; err = windows.Process32Next(list, &entry) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		pid := int(entry.ProcessID)
		all = append(all, process{
			pid:    pid,
			parent: int(entry.ParentProcessID),
			start:  startOf(ctx, pid),
		})
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return nil, err
	}
	return all, nil
}
