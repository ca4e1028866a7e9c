package diagnostics

import (
	"encoding/binary"
	"hash/crc32"
)

// A journal is what is known of an artifact that is being written: a sequence of records, each a kind, a length and
// a checksum. Of a segment the latter two are of the next part of the content, and nothing follows; of the others
// they are of the JSON of the artifact, which follows.
const (
	recordBegin   = 'B'
	recordSegment = 'S'
	recordFinal   = 'F'

	recordHead = 9
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func recordHeadOf(b []byte, kind byte, payload []byte) []byte {
	b = append(b, kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
}

func appendRecord(b []byte, kind byte, payload []byte) []byte {
	return append(recordHeadOf(b, kind, payload), payload...)
}

func segmentRecord(content []byte) []byte { return recordHeadOf(nil, recordSegment, content) }

// A segment is one part of the content.
type segment struct {
	size int64
	sum  uint32
}

// journalText is what a journal says, up to where it is torn.
type journalText struct {
	begin, final []byte // JSON; nil for none
	segments     []segment
}

func readJournal(text []byte) (j journalText) {
	for len(text) >= recordHead {
		kind, size := text[0], binary.LittleEndian.Uint32(text[1:])
		sum := binary.LittleEndian.Uint32(text[5:])
		text = text[recordHead:]
		if kind == recordSegment {
			j.segments = append(j.segments, segment{int64(size), sum})
			continue
		}
		if uint64(size) > uint64(len(text)) {
			break
		}
		payload := text[:size]
		text = text[size:]
		if crc32.Checksum(payload, castagnoli) != sum {
			break
		}
		switch kind {
		case recordBegin:
			j.begin = payload
		case recordFinal:
			j.final = payload
		default:
			return j
		}
	}
	return j
}
