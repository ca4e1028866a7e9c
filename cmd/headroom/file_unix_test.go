//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadFileRefusesWhatOthersMayWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o620, 0o602, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, wrong := readFile(path); !strings.Contains(wrong.Error(), "others may write it") {
			t.Errorf("mode %o: faults %v", mode, wrong)
		}
	}
}

func TestReadFileDoesNotWaitForAFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no FIFO: %v", err)
	}
	if _, wrong := readFile(path); !strings.Contains(wrong.Error(), "not a regular file") {
		t.Errorf("faults %v", wrong)
	}
}

func TestReadFileRefusesAnothersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Skip("only root may give a file away, and not in every container:", err)
	}
	if _, wrong := readFile(path); !strings.Contains(wrong.Error(), "belongs to uid 12345; want root or uid 0") {
		t.Errorf("faults %v", wrong)
	}
}
