package host_test

import (
	"os"
	"path/filepath"
	"testing"
)

// files are files by their path below a made-up root; one that is removed takes what is below it along.
type files map[string]string

const removed = "\x00"

func (f files) write(t *testing.T, root string) {
	t.Helper()
	for name, text := range f {
		if text == removed {
			continue
		}
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		// Not renamed into place: a file of the kernel stays the same under its descriptor.
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range f {
		if text != removed {
			continue
		}
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// with returns the files of both.
func (f files) with(more files) files {
	all := files{}
	for _, m := range []files{f, more} {
		for name, text := range m {
			all[name] = text
		}
	}
	return all
}
