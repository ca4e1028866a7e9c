package host

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mountOf returns where the file system is mounted that holds the path, by its name alone: nothing of the path is
// touched, which may hang. kind is the type of the file system.
func mountOf(path string) (point, kind string, err error) {
	name := filepath.Join(cmp.Or(os.Getenv("HOST_PROC"), procfs), "self", "mountinfo")
	text, err := readOnce(newRecordFile(name))
	if err != nil {
		return "", "", err
	}
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		before, after, ok := strings.Cut(string(line), " - ")
		fields := strings.Split(before, " ")
		if !ok || len(fields) < 5 {
			return "", "", fmt.Errorf("parse %s: %s is no mount", name, quote(line))
		}
		at := unescape(fields[4])
		// The last of those mounted at one place is the one that is seen.
		if len(at) >= len(point) && below(path, at) {
			point = at
			kind, _, _ = strings.Cut(after, " ")
		}
	}
	if point == "" {
		return "", "", fmt.Errorf("nothing is mounted that holds %s", path)
	}
	return point, kind, nil
}

// below reports whether the path is dir or something in it.
func below(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// isRemote reports whether a file system of the type may wait for another machine or program.
func isRemote(kind string) bool {
	return strings.HasPrefix(kind, "nfs") || strings.HasPrefix(kind, "fuse") || slices.Contains([]string{
		"cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs", "ocfs2", "gfs2", "autofs",
		"coda", "ncpfs", "orangefs",
	}, kind)
}
