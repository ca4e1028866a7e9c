package jobs_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

// FuzzQuote gives a text to a real shell: in an argument, within a word and in a variable it must come back exactly.
func FuzzQuote(f *testing.F) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		f.Skip(err)
	}
	for _, text := range []string{
		"", "plain", "a b", "it's", "'", "''", `\`, "\n", "\t\r\n", "$HOME `id` $(id)", "*", "~", "#", "-n", "!x", "a=b",
		"\xff\xfe", "{a,b}", "&;|<>()", `"`, "%s", "=cmd", "[a]", "é\u2028",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsRune(text, 0) || len(text) > 1000 {
			t.Skip("no argument")
		}
		q := jobs.Quote(text)
		script := "v=" + q + "; printf '%s\\0' " + q + " x" + q + "y \"$v\""
		got, err := exec.Command(sh, "-c", script).Output()
		if want := text + "\x00x" + text + "y\x00" + text + "\x00"; err != nil || string(got) != want {
			t.Fatalf("sh -c %q = %q, %v, want %q", script, got, err, want)
		}
	})
}
