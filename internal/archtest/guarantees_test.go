package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// A promise whose test is gone is a promise that nobody holds.
func TestGuaranteesNameTests(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9]+)`").FindAllSubmatch(text, -1)
	if len(named) < 20 {
		t.Errorf("docs/guarantees.md names %d tests, want at least 20", len(named))
	}
	for _, n := range named {
		folder, name := string(n[1]), string(n[2])
		if !definesTest(t, filepath.Join(root, folder), name) {
			t.Errorf("docs/guarantees.md names %s.%s, which does not exist", folder, name)
		}
	}
}

func definesTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^func ` + name + `\(`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if want.Match(text) {
			return true
		}
	}
	return false
}
