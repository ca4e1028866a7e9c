package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseFileFaults(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", ""},
		{"comment", "# nothing\n", ""},
		{"null document", "---\n...\n", ""},
		{"anchor and alias", "disable: &a [cpu]\ncert-role: *a\n",
			"f.yaml:1: anchors and aliases are not allowed\nf.yaml:2: anchors and aliases are not allowed"},
		{"not a mapping", "- a\n", "f.yaml:1: want lines of the form name: value"},
		{"key that is a list", "[a]: b\n", "f.yaml:1: want the name of a setting before ':'"},
		{"two documents", "history: 9s\n---\nhistory: 8s\n", "f.yaml: want one document"},
		{"tab", "history: 9s\n\tstale: hold\n", "f.yaml:2: not YAML: found a tab character that violates indentation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, wrong := parseFile("f.yaml", []byte(tt.text))
			if got := wrong.Error(); got != tt.want {
				t.Errorf("faults %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBillionLaughs(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		alias := "*a" + string(rune('0'+i)) + ", "
		b.WriteString("a" + string(rune('1'+i)) + ": &a" + string(rune('1'+i)) + " [" + strings.Repeat(alias, 9) + "]\n")
	}
	if _, wrong := parseFile("f.yaml", []byte(b.String())); len(wrong) == 0 {
		t.Error("no fault")
	}
}

func TestDeepNestingIsAFault(t *testing.T) {
	for _, text := range []string{strings.Repeat("[", 100_000), strings.Repeat("{a: ", 50_000), strings.Repeat("- ", 50_000)} {
		if _, wrong := parseFile("f.yaml", []byte(text)); len(wrong) == 0 {
			t.Errorf("%.8s...: no fault", text)
		}
	}
}

func TestReadFileRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode, size int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Repeat("#", size)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct{ name, path, want string }{
		{"good", write("good", 0o644, 10), ""},
		{"as large as may be", write("large", 0o600, maxFileSize), ""},
		{"too large", write("larger", 0o600, maxFileSize+1), "larger than 256KiB"},
		{"a folder", dir, "not a regular file"},
		{"missing", filepath.Join(dir, "none"), "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, wrong := readFile(tt.path)
			got := wrong.Error()
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) || got != "" && !strings.HasPrefix(got, tt.path+": ") {
				t.Errorf("faults %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzParseFile(f *testing.F) {
	for _, seed := range []string{
		"history: 9s\ndisable: [cpu, 'a,b', \"x\\ny\"]\n", "a: &b c\nd: *b\n", "? [x]\n: y\n", "a: !!binary aGk=\n", "{a: [", "a: |\n  b\n",
		"disable: [\"\"]", "a: 1\n--- \nb: 2\n", "!<tag:yaml.org,2002:null> x: y",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		given, wrong := parseFile("f.yaml", text)
		_, more := apply(newServeSettings().table(), given)
		report := append(wrong, more...).Error()
		if clean(strings.ReplaceAll(report, "\n", "")) != strings.ReplaceAll(report, "\n", "") {
			t.Errorf("%q gives a report that is not fit for a terminal: %q", text, report)
		}
		if lines := strings.Count(report, "\n") + 1; report != "" && lines != len(wrong)+len(more) {
			t.Errorf("%q gives %d faults on %d lines", text, len(wrong)+len(more), lines)
		}
	})
}
