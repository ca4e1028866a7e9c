//go:build unix

package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A journal that others may have written, or put there, is not trusted: nothing of it is known, it is kept aside, and
// where the directory is the server's own a new one is begun. In a directory of others nothing is written.
func TestJournalOfOthers(t *testing.T) {
	const foreign = 12345
	chown := func(t *testing.T, path string) {
		t.Helper()
		if err := os.Chown(path, foreign, -1); err != nil {
			t.Skip("only root may give a file away, and not in every container:", err)
		}
	}
	chmod := func(t *testing.T, path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, dir, journal string)
		want   []string // in what is said; none where it is trusted
		unkept bool
	}{
		{"as it was", func(*testing.T, string, string) {}, nil, false},
		{"a sticky directory", func(t *testing.T, dir, _ string) { chmod(t, dir, 0o777|os.ModeSticky) }, nil, false},
		{"a file that others may write", func(t *testing.T, _, journal string) { chmod(t, journal, 0o666) },
			[]string{journalName + " is not trusted", "others may write it", "mode 0666"}, false},
		{"a file of another", func(t *testing.T, _, journal string) { chown(t, journal) },
			[]string{journalName + " is not trusted", "it belongs to uid 12345", "mode 0600"}, false},
		{"a directory that others may write", func(t *testing.T, dir, _ string) { chmod(t, dir, 0o777) },
			[]string{"state is not trusted", "others may write it", "mode 0777"}, true},
		{"a directory of another", func(t *testing.T, dir, _ string) { chown(t, dir) },
			[]string{"state is not trusted", "it belongs to uid 12345", "mode 0700"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := stateDir(t)
			j, _ := mustOpen(t, dir, testBoot, 0)
			if err := j.write(0, []journalEntry{{kind: entryCeiling, ceiling: testCeiling(1, "api", 2)},
				{kind: entryLease, lease: testLease(1)}}); err != nil {
				t.Fatal(err)
			}
			j.close()
			journal := filepath.Join(dir, journalName)
			tt.change(t, dir, journal)
			j, r := mustOpen(t, dir, testBoot, time.Hour)
			if trusted := len(tt.want) == 0; trusted != (r.amnesia == "") || trusted != (len(r.leases) == 1) {
				t.Errorf("recovered %+v, want it trusted: %v", r, trusted)
			}
			for _, want := range tt.want {
				if !strings.Contains(r.amnesia, want) {
					t.Errorf("the reason is %q, want %q in it", r.amnesia, want)
				}
			}
			_, err := os.Lstat(journal)
			if (r.unkept != nil) != tt.unkept || (err != nil) != tt.unkept {
				t.Errorf("not written because of %v, and Lstat of the journal says %v, want it written: %v", r.unkept, err, !tt.unkept)
			}
			if !tt.unkept {
				return
			}
			if err := os.Chown(dir, os.Geteuid(), -1); err != nil {
				t.Fatal(err)
			}
			chmod(t, dir, 0o700)
			if err := j.write(time.Hour+journalRetry, nil); err != nil {
				t.Errorf("write = %v once the directory is the server's own", err)
			}
		})
	}
}
