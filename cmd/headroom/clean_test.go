package main

import "testing"

func TestClean(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"plain", "crawler-7 über 漢字 🙂", "crawler-7 über 漢字 🙂"},
		{"title of the window", "\x1b]0;owned\x07", "\ufffd]0;owned\ufffd"},
		{"screen cleared", "a\x1b[2Jb", "a\ufffd[2Jb"},
		{"line broken", "one\nheadroom: two\r", "one\ufffdheadroom: two\ufffd"},
		{"C1", "a\u009b31mb\u0085", "a\ufffd31mb\ufffd"},
		{"delete", "a\x7f", "a\ufffd"},
		{"reversed", "user\u202egnp.exe\u2066\u200f\u061c", "user\ufffdgnp.exe\ufffd\ufffd\ufffd"},
		{"not UTF-8", "a\xff\x9bb", "a\ufffd\ufffdb"},
		{"separators", "a\u2028b\u2029", "a\ufffdb\ufffd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := clean(tt.text); got != tt.want {
				t.Errorf("clean(%q) = %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}
