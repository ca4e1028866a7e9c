package jobs_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

func TestTemplate(t *testing.T) {
	for _, tt := range []struct {
		command string // words between spaces
		args    string
		want    string // words between |
	}{
		{"echo {}", "a", "echo|a"},
		{"echo", "a", "echo|a"},
		{"echo", "a b", "echo|a|b"},
		{"echo {}", "a b", "echo|a|b"},
		{"echo x{}y", "a b", "echo|xa by"},
		{"echo {2}{1}", "a b", "echo|ba"},
		{"echo {2} {3}", "a b", "echo|b"},
		{"echo {3}.", "a b", "echo|."},
		{"convert {} {.}.webp", "in/a.b.png", "convert|in/a.b.png|in/a.b.webp"},
		{"echo {.} {/} {//} {/.}", "sub.dir/foo", "echo|sub.dir/foo|foo|sub.dir|foo"},
		{"echo {.} {/} {//} {/.}", "/x/y.tar.gz", "echo|/x/y.tar|y.tar.gz|/x|y.tar"},
		{"echo {.} {/} {//} {/.}", "/x", "echo|/x|x|/|x"},
		{"echo {.} {/} {//} {/.}", ".bashrc", "echo||.bashrc|.|"},
		{"echo {.} {/} {//} {/.}", "a//b/", "echo|a//b/||a|"},
		{"echo {//}", "/", "echo|/"},
		{"echo {2.} {2/} {2//} {2/.}", "a d/b.c", "echo|d/b|b.c|d|b"},
		{"echo {#}-{%} {#}", "a", "echo|7-3|7"},
		{"echo ${1} ${#} {x} {0} {} {", "a", "echo|${1}|${#}|{x}|{0}|a|{"},
		{"{} -v", "prog", "prog|-v"},
	} {
		template, err := jobs.NewTemplate(strings.Fields(tt.command), false)
		if err != nil {
			t.Fatal(err)
		}
		got := template.Command(&jobs.Job{Seq: 7, Slot: 3, Args: strings.Fields(tt.args)})
		if strings.Join(got, "|") != tt.want {
			t.Errorf("%q of %q = %q, want %q", tt.command, tt.args, got, tt.want)
		}
	}
}

func TestTemplateForShell(t *testing.T) {
	for _, tt := range []struct{ command, want string }{
		{"cat {} | wc", "cat 'a b' it | wc"},
		{"cat {1} > {1/.}.x", "cat 'a b' > 'a b'.x"},
		{"wc <", "wc < 'a b' it"},
		{`wc <"$HEADROOM_ARG"`, `wc <"$HEADROOM_ARG"`},
		{"echo {#} ${1}", "echo 7 ${1}"},
	} {
		template, err := jobs.NewTemplate([]string{tt.command}, true)
		if err != nil {
			t.Fatal(err)
		}
		job := &jobs.Job{Seq: 7, Slot: 3, Args: []string{"a b", "it"}}
		got := template.Command(job)
		if want := []string{"sh", "-c", tt.want}; !slices.Equal(got, want) {
			t.Errorf("%q = %q, want %q", tt.command, got, want)
		}
		if line := template.Line(job); line != tt.want {
			t.Errorf("%q: line %q, want %q", tt.command, line, tt.want)
		}
	}
}

func TestTemplateRefuses(t *testing.T) {
	if _, err := jobs.NewTemplate(nil, false); err == nil {
		t.Error("no words are a template")
	}
	if _, err := jobs.NewTemplate([]string{"echo", "{}"}, true); err == nil {
		t.Error("two words are a template for a shell")
	}
}

func TestProgram(t *testing.T) {
	for _, tt := range []struct {
		words []string
		shell bool
		want  string
		ok    bool
	}{
		{[]string{"echo", "{}"}, false, "echo", true},
		{[]string{"{}", "a"}, false, "", false},
		{[]string{"bin/{1}", "a"}, false, "", false},
		{[]string{"{} | wc"}, true, "sh", true},
	} {
		template, err := jobs.NewTemplate(tt.words, tt.shell)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := template.Program(); got != tt.want || ok != tt.ok {
			t.Errorf("%q: %q, %t, want %q, %t", tt.words, got, ok, tt.want, tt.ok)
		}
	}
}

func TestHasPlaceholder(t *testing.T) {
	for word, want := range map[string]bool{
		"{}": true, "a{/.}b": true, "{#}": true, "{%}": true, "{12//}": true, "${1}": false, "{": false, "{a}": false, "": false,
	} {
		template, err := jobs.NewTemplate([]string{"echo", word}, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := template.HasPlaceholder(); got != want {
			t.Errorf("%q: %t, want %t", word, got, want)
		}
	}
}

func TestLineAndEnviron(t *testing.T) {
	template, err := jobs.NewTemplate([]string{"echo", "a b", "{}"}, false)
	if err != nil {
		t.Fatal(err)
	}
	job := &jobs.Job{Seq: 7, Slot: 3, Args: []string{"it's", ""}}
	if got, want := template.Line(job), `echo 'a b' 'it'\''s' ''`; got != want {
		t.Errorf("line = %s, want %s", got, want)
	}
	if got, want := job.Environ(), []string{"HEADROOM_ARG=it's ", "HEADROOM_SEQ=7", "HEADROOM_SLOT=3"}; !slices.Equal(got, want) {
		t.Errorf("environ = %q, want %q", got, want)
	}
}
