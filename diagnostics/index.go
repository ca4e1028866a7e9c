package diagnostics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"sync"
)

// indexName is the file with a copy of the manifests, one a line. To read 100,000 files takes two seconds, and to
// read one of as many lines a third of one. The manifests decide which artifacts there are; the index only saves
// opening those that it knows.
const indexName = "index"

const (
	// maxIndex bounds what is read of an index; without one, all manifests are read.
	maxIndex = 1 << 30

	// indexSlack is how many lines of no use an index may have beside half of its lines.
	indexSlack = 1000
)

// index appends to the file. A line is written before the manifest that it is a copy of has its name, so that a
// manifest is never newer than its line. disk is held.
type index struct {
	file *os.File // nil when there is none: each manifest is read at the next start
	size int64
}

func indexLine(manifest []byte) []byte {
	line := fmt.Appendf(nil, "%08x ", crc32.Checksum(manifest, castagnoli))
	return append(append(line, manifest...), '\n')
}

// note writes down a manifest that is about to be named. A change of one that the index may know must be on the
// disk first.
func (s *Store) note(manifest []byte, changed bool) {
	x := &s.index
	if x.file == nil {
		return
	}
	err := s.config.before(stepNote)
	if err == nil {
		var n int
		n, err = x.file.WriteAt(indexLine(manifest), x.size)
		x.size += int64(n)
	}
	if err == nil && changed {
		err = s.sync(stepSyncNote, x.file)
	}
	if err != nil {
		s.dropIndex()
	}
}

// dropIndex does without the index. One that would be wrong must not stay: then the artifacts cannot be trusted
// to be as the next start will find them, but for that removing a file must fail.
func (s *Store) dropIndex() {
	if s.index.file != nil {
		_ = s.index.file.Truncate(0)
		_ = s.index.file.Close()
		s.index.file = nil
	}
	_ = s.root.Remove(indexName)
}

// readIndex returns the manifests that the index knows, by ID, and how many lines it has.
func (s *Store) readIndex() (known map[string]*Artifact, lines int) {
	text, err := s.read(indexName, maxIndex)
	if err != nil {
		return nil, 0
	}
	parts := max(1, min(runtime.GOMAXPROCS(0), len(text)>>16))
	found := make([][]*Artifact, parts)
	counts := make([]int, parts)
	var wait sync.WaitGroup
	for i := range parts {
		part := text[lineFrom(text, i*len(text)/parts):lineFrom(text, (i+1)*len(text)/parts)]
		wait.Go(func() { found[i], counts[i] = readLines(part) })
	}
	wait.Wait()
	known = make(map[string]*Artifact, len(text)/256)
	for i, all := range found {
		lines += counts[i]
		for _, a := range all {
			known[a.ID] = a // the last one counts
		}
	}
	return known, lines
}

// lineFrom returns where the first line begins at or after the offset.
func lineFrom(text []byte, offset int) int {
	if offset == 0 {
		return 0
	}
	i := bytes.IndexByte(text[offset-1:], '\n')
	if i < 0 {
		return len(text)
	}
	return offset + i
}

func readLines(text []byte) (all []*Artifact, lines int) {
	for line := range bytes.Lines(text) {
		lines++
		sum, manifest, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		want, err := strconv.ParseUint(string(sum), 16, 32)
		if !ok || err != nil || crc32.Checksum(manifest, castagnoli) != uint32(want) {
			continue
		}
		a := new(Artifact)
		if json.Unmarshal(manifest, a) == nil && a.Sealed {
			all = append(all, a)
		}
	}
	return all, lines
}

// openIndex goes on with the index, or writes it anew where much of it is of no use or much is missing.
func (s *Store) openIndex(lines, fromIndex int) error {
	missing := len(s.all) - fromIndex
	if lines == 0 || missing > indexSlack || lines-fromIndex > fromIndex+indexSlack {
		return s.rewriteIndex()
	}
	f, err := s.root.OpenFile(indexName, os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return s.rewriteIndex()
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.index = index{f, info.Size()}
	if _, err := f.WriteAt([]byte{'\n'}, s.index.size); err != nil { // after a last line that may be torn
		s.dropIndex()
		return nil
	}
	s.index.size++
	return nil
}

// rewriteIndex writes the index of what there is. Without room for it there is none.
func (s *Store) rewriteIndex() error {
	var text []byte
	for _, a := range s.all {
		if !a.Sealed {
			continue
		}
		manifest, err := json.Marshal(a)
		if err != nil {
			return err
		}
		text = append(text, indexLine(manifest)...)
	}
	const temporary = indexName + temporaryEnd
	f, err := s.root.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		s.dropIndex()
		return nil
	}
	_, err = f.Write(text)
	if err == nil {
		err = s.sync(stepSyncNote, f)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.root.Rename(temporary, indexName)
	}
	if err == nil {
		f, err = s.root.OpenFile(indexName, os.O_RDWR, 0o600)
	}
	if err != nil {
		_ = s.root.Remove(temporary) // the next start writes over what is left of it
		s.dropIndex()
		return nil
	}
	s.index = index{f, int64(len(text))}
	return nil
}
