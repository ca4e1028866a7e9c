//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCanMake(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		want bool
	}{
		{dir, true},
		{filepath.Join(dir, "a", "b"), true},
		{file, false},
		{filepath.Join(file, "a"), false},
	} {
		if got := canMake(tt.path); got != tt.want {
			t.Errorf("canMake(%s) = %t, want %t", tt.path, got, tt.want)
		}
	}
}

// The journal is in the user's directory of states, and where that cannot be, there is none.
func TestDefaultStateDir(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root has a directory of its own")
	}
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	if got, want := defaultStateDir(), filepath.Join(dir, "headroom"); got != want {
		t.Errorf("with XDG_STATE_HOME: %q, want %q", got, want)
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", dir)
	if got, want := defaultStateDir(), filepath.Join(dir, ".local", "state", "headroom"); got != want {
		t.Errorf("with HOME: %q, want %q", got, want)
	}
	t.Setenv("HOME", "/proc")
	if got := defaultStateDir(); got != off {
		t.Errorf("where nothing can be made: %q, want off", got)
	}
}
