//go:build !linux

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// projectCheck is nothing here: no account of projects is read.
type projectCheck struct{}

// walkDisk walks a folder below an os.Root: what is moved or replaced meanwhile cannot lead it elsewhere. It counts
// the size of files, and a file with several names each time.
func walkDisk(w *folderWalk) (r snapshot.DiskReading) {
	began := time.Now()
	defer func() { r.Took = time.Since(began) }()
	if w.UID >= 0 && w.UID != os.Geteuid() {
		r.Reason = fmt.Sprintf("the rights of user %d cannot be taken here", w.UID)
		return r
	}
	root, err := os.OpenRoot(w.Path)
	if err != nil {
		r.Reason = err.Error()
		return r
	}
	defer root.Close()
	since, batch := began, 0
	over := errors.New("over")
	err = fs.WalkDir(root.FS(), ".", func(_ string, entry fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				r.Entries++
				if info.Mode().IsRegular() {
					r.Bytes += info.Size()
				}
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && r.Reason == "" {
			r.Reason = err.Error()
		}
		if batch++; batch < 4096 {
			return nil
		}
		w.entries.Store(r.Entries)
		if why := w.over(); why != "" {
			r.Reason = why
			return over
		}
		time.Sleep(w.pause(time.Since(since)))
		since, batch = time.Now(), 0
		return nil
	})
	if err != nil && r.Reason == "" {
		r.Reason = err.Error()
	}
	switch {
	case r.Entries == 0:
		return r
	case r.Reason != "":
		r.State = snapshot.DiskPartial
	default:
		r.State = snapshot.DiskOK
	}
	r.Source = snapshot.DiskWalked
	return r
}

// mountOf returns the volume of the path, which stands for its mount here.
func mountOf(path string) (point, kind string, err error) { return filepath.VolumeName(path), "", nil }

// isRemote reports whether a file system of the type may wait for another machine; that is not told here.
func isRemote(string) bool { return false }
