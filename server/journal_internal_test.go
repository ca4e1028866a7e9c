package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

const testBoot = "0123-boot"

func testCeiling(session byte, resource string, n int64) permit.Record {
	return permit.Record{
		Epoch: 7, Instance: permit.InstanceID{session}, Session: permit.SessionID{session}, Identity: "uid:1000",
		Resource: resource, Ceiling: n,
	}
}

func testLease(id byte) lease {
	return lease{
		id: leaseID{id}, instance: permit.InstanceID{9}, owner: permit.Party{Identity: "token:ci", Unbounded: true},
		priority: -3, resource: "api", count: 5, request: "r-1", client: "script",
		fence: permit.Fence{Epoch: 7, Counter: 1 << 40}, ttl: 30 * time.Second, until: time.Hour,
	}
}

// stateDir returns a directory that nobody else may write, whatever the umask is.
func stateDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fillDisk lets no journal be begun in the directory until free is called.
func fillDisk(t *testing.T, dir string) (free func()) {
	t.Helper()
	block := filepath.Join(dir, journalNewName)
	if err := os.MkdirAll(filepath.Join(block, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(block); err != nil {
			t.Fatal(err)
		}
	}
}

func mustOpen(t *testing.T, dir, boot string, now time.Duration) (*journal, recovered) {
	t.Helper()
	j, r, err := openJournal(dir, boot, now, 7*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.close() })
	return j, r
}

func TestJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	j, r := mustOpen(t, dir, testBoot, time.Minute)
	if r.amnesia != errNoJournal.Error() || r.epoch < 1 {
		t.Errorf("first life: %+v, want amnesia", r)
	}
	entries := []journalEntry{
		{kind: entryCeiling, ceiling: testCeiling(1, "api", 2)},
		{kind: entryCeiling, ceiling: testCeiling(1, "host", 2)},
		{kind: entryCeiling, ceiling: testCeiling(2, "api", 8)},
		{kind: entryCeiling, ceiling: testCeiling(1, "api", 4)},
		{kind: entryCeiling, ceiling: testCeiling(2, "api", 0)},
		{kind: entryLease, lease: testLease(1)},
		{kind: entryLease, lease: testLease(2)},
		{kind: entryEnd, end: leaseID{1}},
	}
	if err := j.write(0, entries[:3]); err != nil {
		t.Fatal(err)
	}
	if err := j.write(0, entries[3:]); err != nil {
		t.Fatal(err)
	}
	j.close()
	for life := int64(1); life <= 2; life++ { // what is written anew says the same
		j, next := mustOpen(t, dir, testBoot, 2*time.Minute)
		want := map[permit.Record]bool{testCeiling(1, "api", 4): true, testCeiling(1, "host", 2): true}
		got := map[permit.Record]bool{}
		for _, c := range next.ceilings {
			got[c] = true
		}
		if next.amnesia != "" || next.epoch != r.epoch+life || !next.sameBoot || !maps.Equal(got, want) {
			t.Errorf("life %d: %+v, want the two ceilings and the next epoch after %d", life, next, r.epoch)
		}
		if len(next.leases) != 1 || next.leases[0] != testLease(2) {
			t.Errorf("life %d: leases %+v, want that which did not end", life, next.leases)
		}
		j.close()
	}
}

// Where the last life may have lost something, or did not know everything itself, nothing is known.
func TestJournalAmnesia(t *testing.T) {
	dir := stateDir(t)
	j, first := mustOpen(t, dir, testBoot, time.Minute)
	j.close()
	j, r := mustOpen(t, dir, testBoot, time.Minute+7*time.Second-1)
	if r.amnesia == "" || r.window != 7*time.Second || r.epoch != first.epoch+1 {
		t.Errorf("within the blind time of the first: %+v, want amnesia and the next epoch", r)
	}
	if err := j.write(0, []journalEntry{{kind: entryCeiling, ceiling: testCeiling(1, "api", 2)}}); err != nil {
		t.Fatal(err)
	}
	j.close()
	for _, boot := range []string{"another", ""} {
		j, r := mustOpen(t, dir, boot, 0)
		if r.amnesia == "" || r.epoch <= first.epoch+1 || r.sameBoot {
			t.Errorf("on boot %q: %+v, want amnesia and a later epoch", boot, r)
		}
		j.close()
	}
}

func TestJournalIsCompactedWhileItGrows(t *testing.T) {
	dir := stateDir(t)
	j, _ := mustOpen(t, dir, testBoot, 0)
	if err := j.write(0, []journalEntry{
		{kind: entryCeiling, ceiling: testCeiling(3, "api", 16)}, {kind: entryLease, lease: testLease(2)},
	}); err != nil {
		t.Fatal(err)
	}
	for range 3 * compactFrom / 100 {
		if err := j.write(0, []journalEntry{{kind: entryLease, lease: testLease(1)}, {kind: entryEnd, end: leaseID{1}}}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, journalName))
	if err != nil || info.Size() > 2*compactFrom {
		t.Errorf("the journal has %d bytes, %v, want at most %d", info.Size(), err, 2*compactFrom)
	}
	j.close()
	if _, r := mustOpen(t, dir, testBoot, time.Hour); len(r.ceilings) != 1 || len(r.leases) != 1 || r.amnesia != "" {
		t.Errorf("recovered %+v, want the one ceiling and the one lease", r)
	}
}

// What lives before may have granted under a longer lease is waited for, over as many lives as that takes.
func TestJournalWindow(t *testing.T) {
	dir := stateDir(t)
	ceiling := []journalEntry{{kind: entryCeiling, ceiling: testCeiling(1, "api", 2)}}
	for _, life := range []struct {
		at, lease, window time.Duration
		amnesia           bool
	}{
		{0, 60 * time.Second, 60 * time.Second, true},
		{100 * time.Second, 7 * time.Second, 60 * time.Second, false},
		{110 * time.Second, 7 * time.Second, 50 * time.Second, false},
		{155 * time.Second, 7 * time.Second, 7 * time.Second, false},
		{200 * time.Second, 90 * time.Second, 90 * time.Second, false},
		{201 * time.Second, 7 * time.Second, 90 * time.Second, false},
	} {
		j, r, err := openJournal(dir, testBoot, life.at, life.lease)
		if err != nil {
			t.Fatal(err)
		}
		if r.window != life.window || (r.amnesia != "") != life.amnesia {
			t.Errorf("life at %v: window %v, amnesia %q, want %v and %v", life.at, r.window, r.amnesia, life.window, life.amnesia)
		}
		if err := j.write(0, ceiling); err != nil {
			t.Fatal(err)
		}
		j.close()
	}
	// On another boot how much of the window had passed is not known.
	if _, r := mustOpen(t, dir, "another", 0); r.window != 90*time.Second || r.amnesia == "" {
		t.Errorf("on another boot: window %v, amnesia %q, want 90s and some", r.window, r.amnesia)
	}
}

// Leases that can still be read in a damaged journal are known.
func TestJournalDamageLeavesLeases(t *testing.T) {
	dir := stateDir(t)
	j, _ := mustOpen(t, dir, testBoot, 0)
	for _, e := range []journalEntry{{kind: entryLease, lease: testLease(1)}, {kind: entryLease, lease: testLease(2)}} {
		if err := j.write(0, []journalEntry{e}); err != nil {
			t.Fatal(err)
		}
	}
	j.close()
	name := filepath.Join(dir, journalName)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-1] ^= 1
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for life := range 2 {
		j, r := mustOpen(t, dir, testBoot, time.Second)
		if r.amnesia == "" || len(r.leases) != 1 || r.leases[0] != testLease(1) {
			t.Errorf("life %d: %+v, want amnesia and the lease before the damage", life, r)
		}
		j.close()
	}
}

// A journal that can be neither written nor removed would tell the next life less than was granted.
func TestJournalStale(t *testing.T) {
	j, _ := mustOpen(t, stateDir(t), testBoot, 0)
	j.file.Close()
	j.root.Close()
	err := j.write(0, []journalEntry{{kind: entryCeiling, ceiling: testCeiling(1, "api", 2)}})
	if !errors.Is(err, errJournalStale) {
		t.Errorf("write = %v, want errJournalStale", err)
	}
}

// After a write that failed nothing more is written, and the next life does not trust what stands.
func TestJournalWriteError(t *testing.T) {
	dir := stateDir(t)
	j, _ := mustOpen(t, dir, testBoot, 0)
	entry := []journalEntry{{kind: entryCeiling, ceiling: testCeiling(1, "api", 2)}}
	if err := j.write(0, entry); err != nil {
		t.Fatal(err)
	}
	j.file.Close()
	if err := j.write(0, entry); err == nil {
		t.Error("a write to a closed file succeeded")
	}
	if err := j.write(journalRetry-1, entry); !errors.Is(err, errJournalPause) {
		t.Errorf("the write after it = %v, want errJournalPause", err)
	}
	j.close()
	if _, r := mustOpen(t, dir, testBoot, time.Hour); r.amnesia == "" {
		t.Errorf("recovered %+v, want amnesia", r)
	}
}

// Where the disk is full at the start, what stands holds, nothing is left behind, and the next life trusts none of it
// once something was granted that it does not say. As soon as that works the journal is begun anew.
func TestJournalOnAFullDisk(t *testing.T) {
	dir := stateDir(t)
	j, first := mustOpen(t, dir, testBoot, 0)
	ceiling := testCeiling(1, "api", 2)
	if err := j.write(0, []journalEntry{{kind: entryCeiling, ceiling: ceiling}}); err != nil {
		t.Fatal(err)
	}
	j.close()
	free := fillDisk(t, dir)
	j, r := mustOpen(t, dir, testBoot, time.Hour)
	if r.unkept == nil || r.amnesia != "" || r.epoch != first.epoch+1 || len(r.ceilings) != 1 || r.ceilings[0] != ceiling {
		t.Errorf("on a full disk: %+v, want what was written down, and why it cannot be again", r)
	}
	if _, err := os.Stat(filepath.Join(dir, journalName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the journal is still there (%v), and the next life would trust it", err)
	}
	more := []journalEntry{{kind: entryCeiling, ceiling: testCeiling(2, "api", 1)}}
	if err := j.write(time.Hour+journalRetry-1, more); !errors.Is(err, errJournalPause) {
		t.Errorf("write = %v, want a pause", err)
	}
	if err := j.write(time.Hour+journalRetry, nil); err == nil {
		t.Error("written to a full disk")
	}
	free()
	if err := j.write(time.Hour+2*journalRetry, nil); err != nil {
		t.Errorf("write = %v once there is room", err)
	}
	j.close()
	if _, r := mustOpen(t, dir, testBoot, 2*time.Hour); r.amnesia != "" || len(r.ceilings) != 2 {
		t.Errorf("the next life: %+v, want both ceilings", r)
	}
}

// What cannot be put in its place is not left beside the journal.
func TestJournalLeavesNothingHalfWritten(t *testing.T) {
	dir := stateDir(t)
	j, _ := mustOpen(t, dir, testBoot, 0)
	if err := os.Remove(filepath.Join(dir, journalName)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, journalName, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := j.compact(); err == nil {
		t.Fatal("compact replaced a directory")
	}
	if _, err := os.Lstat(filepath.Join(dir, journalNewName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lstat of %s = %v, want that there is none", journalNewName, err)
	}
}

func TestJournalNeedsARegularFile(t *testing.T) {
	dir := stateDir(t)
	if err := os.Mkdir(filepath.Join(dir, journalName), 0o700); err != nil {
		t.Fatal(err)
	}
	_, r := mustOpen(t, dir, testBoot, 0)
	if !strings.Contains(r.amnesia, journalName+" is not trusted: it is not a regular file") || r.unkept != nil {
		t.Errorf("recovered %+v, want that a directory is not trusted", r)
	}
}

// journalText is a whole journal with one entry of each kind.
func journalText() []byte {
	text := []byte(journalMagic)
	for _, e := range []journalEntry{
		{kind: entryBegin, begin: journalBegin{epoch: 7, boot: testBoot, began: 9, lease: 8, window: 7, blind: true}},
		{kind: entryCeiling, ceiling: testCeiling(1, "api", 2)},
		{kind: entryLease, lease: testLease(1)},
		{kind: entryEnd, end: leaseID{2}},
	} {
		text = appendEntry(text, &e)
	}
	return text
}

// Whatever bit of a journal changes, and whatever follows it: it is not trusted. What is cut off is as if it had not
// been written, as long as the begin is there.
func TestJournalDamage(t *testing.T) {
	whole := journalText()
	if c := readJournal(whole); c.fault != nil || len(c.ceilings) != 1 || len(c.leases) != 1 {
		t.Fatalf("the whole journal: %+v", c)
	}
	for bit := range 8 * len(whole) {
		text := bytes.Clone(whole)
		text[bit/8] ^= 1 << (bit % 8)
		if c := readJournal(text); c.fault == nil {
			t.Fatalf("a changed bit was not noticed: %q", text)
		}
		if c := readJournal(append(text, whole[len(journalMagic):]...)); c.fault == nil {
			t.Fatalf("a changed bit further from the end was not noticed: %q", text)
		}
	}
	first, ceilings := 0, 0 // where the first entry ends, and the one with the ceiling
	for at := len(journalMagic); at < len(whole); {
		_, size, err := nextEntry(whole[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += size
		if first == 0 {
			first = at
		} else if ceilings == 0 {
			ceilings = at
		}
	}
	for n := range whole {
		c := readJournal(whole[:n])
		if (c.fault == nil) != (n >= first) {
			t.Errorf("cut at %d of %d: fault %v", n, len(whole), c.fault)
		}
		if want := n >= ceilings; c.fault == nil && (len(c.ceilings) == 1) != want {
			t.Errorf("cut at %d of %d: ceilings %v, want one: %v", n, len(whole), c.ceilings, want)
		}
	}
	for _, tail := range [][]byte{make([]byte, 8), make([]byte, 4096), []byte(journalMagic), whole} {
		if c := readJournal(append(bytes.Clone(whole), tail...)); c.fault == nil {
			t.Errorf("a tail of %d bytes was not noticed", len(tail))
		}
	}
}

// What is read from a journal without a fault is written as it was, whatever the bytes.
func FuzzJournal(f *testing.F) {
	whole := journalText()
	f.Add(whole)
	for at := len(journalMagic); at < len(whole); {
		_, size, err := nextEntry(whole[at:])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(whole[at+8 : at+size])
		at += size
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		readJournal(text)
		// The checksum keeps what is made up out: so it is made to hold.
		payload := text[:min(len(text), maxEntry)]
		text = binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
		text = append(binary.LittleEndian.AppendUint32(text, crc32.Checksum(payload, checksum)), payload...)
		for at := 0; at < len(text); {
			e, size, err := nextEntry(text[at:])
			if err != nil {
				break
			}
			again, _, err := nextEntry(appendEntry(nil, &e))
			if err != nil || again != e {
				t.Fatalf("%+v became %+v, %v", e, again, err)
			}
			at += size
		}
	})
}
