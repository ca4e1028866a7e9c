package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// ResolvePID returns the pid here of the process that the process teller calls pid: another number where the
// teller is in a pid namespace of its own, as in a container. The error is ErrNoProcess where the teller cannot be
// seen, or none of its namespace has the pid; what the teller calls a process of a namespace below its own is not
// found. Where both see the same pids it costs one read; else it looks at every process, and needs the right to see
// their namespaces.
func ResolvePID(ctx context.Context, teller, pid int) (int, error) {
	proc := cmp.Or(os.Getenv("HOST_PROC"), procfs)
	st, err := readStatus(filepath.Join(proc, strconv.Itoa(teller)))
	if err != nil {
		return 0, ended(err)
	}
	if st.depth == 0 { // everybody may know this, of anybody's process
		return pid, nil
	}
	space, err := pidNamespace(proc, strconv.Itoa(teller))
	if err != nil {
		return 0, ended(err)
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return 0, fmt.Errorf("resolve pid %d: %w", pid, err)
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		outer, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		st, err := readStatus(filepath.Join(proc, entry.Name()))
		if err != nil || st.inner != pid || st.group != outer {
			continue // it ended, or it is another
		}
		if got, err := pidNamespace(proc, entry.Name()); err == nil && got == space {
			return outer, nil
		}
	}
	return 0, ErrNoProcess
}

// pidNamespace returns the name of the pid namespace of a process, such as pid:[4026531836].
func pidNamespace(proc, pid string) (string, error) {
	name, err := os.Readlink(filepath.Join(proc, pid, "ns", "pid"))
	if errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("the pid namespace of process %s cannot be seen: %w", pid, err)
	}
	return name, err
}
