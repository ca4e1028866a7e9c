package server

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"math/rand/v2"
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
	if err := j.write(entries[:3]); err != nil {
		t.Fatal(err)
	}
	if err := j.write(entries[3:]); err != nil {
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
	dir := t.TempDir()
	j, first := mustOpen(t, dir, testBoot, time.Minute)
	j.close()
	j, r := mustOpen(t, dir, testBoot, time.Minute+7*time.Second-1)
	if r.amnesia == "" || r.epoch != first.epoch+1 {
		t.Errorf("within the blind time of the first: %+v, want amnesia and the next epoch", r)
	}
	if err := j.write([]journalEntry{{kind: entryCeiling, ceiling: testCeiling(1, "api", 2)}}); err != nil {
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
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, testBoot, 0)
	if err := j.write([]journalEntry{
		{kind: entryCeiling, ceiling: testCeiling(3, "api", 16)}, {kind: entryLease, lease: testLease(2)},
	}); err != nil {
		t.Fatal(err)
	}
	for range 3 * compactFrom / 100 {
		if err := j.write([]journalEntry{{kind: entryLease, lease: testLease(1)}, {kind: entryEnd, end: leaseID{1}}}); err != nil {
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

// After a write that failed nothing more is written, and the next life does not trust what stands.
func TestJournalWriteError(t *testing.T) {
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, testBoot, 0)
	entry := []journalEntry{{kind: entryCeiling, ceiling: testCeiling(1, "api", 2)}}
	if err := j.write(entry); err != nil {
		t.Fatal(err)
	}
	j.file.Close()
	if err := j.write(entry); err == nil {
		t.Error("a write to a closed file succeeded")
	}
	if err := j.write(entry); err != nil || !j.bad {
		t.Errorf("the write after it = %v, want nothing to be done", err)
	}
	j.close()
	if _, r := mustOpen(t, dir, testBoot, time.Hour); r.amnesia == "" {
		t.Errorf("recovered %+v, want amnesia", r)
	}
}

func TestJournalNeedsARegularFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, journalName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openJournal(dir, testBoot, 0, time.Second); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("openJournal = %v, want it to refuse a directory", err)
	}
}

// journalText is a whole journal with one entry of each kind.
func journalText() []byte {
	text := []byte(journalMagic)
	for _, e := range []journalEntry{
		{kind: entryBegin, begin: journalBegin{epoch: 7, boot: testBoot, blind: 7}},
		{kind: entryCeiling, ceiling: testCeiling(1, "api", 2)},
		{kind: entryLease, lease: testLease(1)},
		{kind: entryEnd, end: leaseID{2}},
	} {
		text = appendEntry(text, &e)
	}
	return text
}

// Whatever bit of a journal changes, wherever it is cut but between two entries, and whatever follows it: it is
// not trusted.
func TestJournalDamage(t *testing.T) {
	whole := journalText()
	if c := readJournal(whole); c.fault != nil || len(c.ceilings) != 1 || len(c.leases) != 1 {
		t.Fatalf("the whole journal: %+v", c)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		text := bytes.Clone(whole)
		text[random.IntN(len(text))] ^= 1 << random.IntN(8)
		if c := readJournal(text); c.fault == nil {
			t.Fatalf("a changed bit was not noticed: %q", text)
		}
	}
	ends := map[int]bool{}
	for at := len(journalMagic); at < len(whole); {
		_, size, err := nextEntry(whole[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += size
		ends[at] = true
	}
	for n := range whole {
		if c := readJournal(whole[:n]); (c.fault == nil) != ends[n] {
			t.Errorf("cut at %d of %d: fault %v", n, len(whole), c.fault)
		}
	}
	for _, tail := range [][]byte{{0}, make([]byte, 4096), []byte(journalMagic), whole} {
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
