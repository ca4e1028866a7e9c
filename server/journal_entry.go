package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// journalMagic begins every journal. A format that an older server would misread gets another one.
const journalMagic = "headroom permits 1\n"

// maxEntry bounds the payload of one entry: an identity, a resource, a request and a client, each at its longest.
const maxEntry = 1024

// maxWindow bounds what a journal says of TTL and grace.
const maxWindow = 2 * permit.MaxDuration

// entryKind is the first byte of a payload.
type entryKind byte

const (
	entryBegin   entryKind = 'B' // of one life of the server; the first entry, and only that
	entryCeiling entryKind = 'C' // a permit.Record
	entryLease   entryKind = 'L' // a permit of the unary calls; takes the place of an older one
	entryEnd     entryKind = 'E' // the end of such a permit
)

// journalEntry is one entry: that of its kind is set.
type journalEntry struct {
	kind    entryKind
	begin   journalBegin
	ceiling permit.Record
	lease   lease
	end     leaseID
}

// journalBegin is the life of the server that writes.
type journalBegin struct {
	epoch int64
	boot  string        // identifies the host's boot; empty where it has no such name
	began time.Duration // by the clock of that boot

	// lease is its TTL and grace: how long what it granted may be in use after its end.
	lease time.Duration

	// window is for how long from its begin what earlier lives granted may be in use, and blind is whether it did
	// not know what that was.
	window time.Duration
	blind  bool
}

// leaseID identifies a permit of the unary calls: 128 random bits.
type leaseID [16]byte

// lease is a permit of the unary calls as the journal keeps it.
type lease struct {
	id       leaseID
	instance permit.InstanceID // of the inner session that is charged
	owner    permit.Party      // without its pid
	priority int
	resource string
	count    int64
	request  string // the request_id; empty for HoldPermit
	client   string
	fence    permit.Fence
	ttl      time.Duration
	until    time.Duration // by the clock of the host's boot
}

var checksum = crc32.MakeTable(crc32.Castagnoli)

// appendEntry appends the length, the checksum and the payload.
func appendEntry(dst []byte, e *journalEntry) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, 8)...)
	dst = e.appendPayload(append(dst, byte(e.kind)))
	payload := dst[at+8:]
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(dst[at+4:], crc32.Checksum(payload, checksum))
	return dst
}

func (e *journalEntry) appendPayload(dst []byte) []byte {
	switch e.kind {
	case entryBegin:
		b := &e.begin
		dst = appendText(binary.AppendVarint(dst, b.epoch), b.boot)
		return appendNumbers(dst, int64(b.began), int64(b.lease), int64(b.window), flag(b.blind))
	case entryCeiling:
		r := &e.ceiling
		dst = binary.AppendVarint(dst, r.Epoch)
		dst = append(append(dst, r.Instance[:]...), r.Session[:]...)
		dst = appendText(appendText(dst, r.Identity), r.Resource)
		return binary.AppendVarint(dst, r.Ceiling)
	case entryLease:
		l := &e.lease
		dst = append(append(dst, l.id[:]...), l.instance[:]...)
		dst = appendText(appendText(dst, l.owner.Identity), l.resource)
		dst = appendText(appendText(dst, l.request), l.client)
		return appendNumbers(dst, flag(l.owner.Unbounded), int64(l.priority), l.count, l.fence.Epoch, l.fence.Counter,
			int64(l.ttl), int64(l.until))
	default:
		return append(dst, e.end[:]...)
	}
}

func appendNumbers(dst []byte, numbers ...int64) []byte {
	for _, n := range numbers {
		dst = binary.AppendVarint(dst, n)
	}
	return dst
}

func flag(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// errJournalEntry reports bytes that are no entry.
var errJournalEntry = errors.New("not an entry")

// nextEntry reads the entry at the begin of text, and returns how long it is.
func nextEntry(text []byte) (e journalEntry, size int, err error) {
	if len(text) < 8 {
		return e, 0, fmt.Errorf("%w: %d bytes are left", errJournalEntry, len(text))
	}
	length, sum := binary.LittleEndian.Uint32(text), binary.LittleEndian.Uint32(text[4:])
	if length == 0 || length > maxEntry || int(length) > len(text)-8 {
		return e, 0, fmt.Errorf("%w: its length is %d", errJournalEntry, length)
	}
	payload := text[8 : 8+length]
	if crc32.Checksum(payload, checksum) != sum {
		return e, 0, fmt.Errorf("%w: the checksum does not hold", errJournalEntry)
	}
	p := entryParser{left: payload[1:]}
	e.kind = entryKind(payload[0])
	switch e.kind {
	case entryBegin:
		b := &e.begin
		b.epoch, b.boot = p.number(), p.text()
		b.began, b.lease, b.window = time.Duration(p.number()), time.Duration(p.number()), time.Duration(p.number())
		b.blind = p.flag()
		p.must(b.epoch >= 1 && b.lease >= 0 && b.lease <= maxWindow && b.window >= 0 && b.window <= maxWindow)
	case entryCeiling:
		r := &e.ceiling
		r.Epoch, r.Instance, r.Session = p.number(), p.id(), p.id()
		r.Identity, r.Resource, r.Ceiling = p.text(), p.text(), p.number()
		p.must(r.Epoch >= 1 && r.Ceiling >= 0 && r.Ceiling <= permit.MaxLimit)
	case entryLease:
		l := &e.lease
		l.id, l.instance = p.id(), p.id()
		l.owner.Identity, l.resource, l.request, l.client = p.text(), p.text(), p.text(), p.text()
		l.owner.Unbounded, l.priority, l.count = p.flag(), int(p.number()), p.number()
		l.fence = permit.Fence{Epoch: p.number(), Counter: p.number()}
		l.ttl, l.until = time.Duration(p.number()), time.Duration(p.number())
		p.must(l.priority >= permit.MinPriority && l.priority <= permit.MaxPriority)
		p.must(l.count >= 1 && l.count <= permit.MaxLimit && l.ttl > 0 && l.ttl <= maxLeaseTTL)
	case entryEnd:
		e.end = p.id()
	default:
		p.must(false)
	}
	if p.bad || len(p.left) > 0 {
		return e, 0, fmt.Errorf("%w: its kind %q does not fit its content", errJournalEntry, e.kind)
	}
	return e, 8 + int(length), nil
}

// torn reports whether text is the begin of one entry and nothing else, as a process leaves it that is killed while
// it writes.
func torn(text []byte) bool {
	if len(text) >= 8+maxEntry {
		return false
	}
	for at := range text {
		if _, _, err := nextEntry(text[at:]); err == nil {
			return false // the length of what stands before it is wrong
		}
	}
	if len(text) < 8 {
		return true
	}
	length, sum := binary.LittleEndian.Uint32(text), binary.LittleEndian.Uint32(text[4:])
	payload := text[8:]
	return length > uint32(len(payload)) && length <= maxEntry && crc32.Checksum(payload, checksum) != sum
}

// entryParser reads a payload. Once something did not fit it gives zeros.
type entryParser struct {
	left []byte
	bad  bool
}

func (p *entryParser) must(ok bool) { p.bad = p.bad || !ok }

func (p *entryParser) number() int64 {
	n, size := binary.Varint(p.left)
	if size <= 0 {
		p.bad, p.left = true, nil
		return 0
	}
	p.left = p.left[size:]
	return n
}

func (p *entryParser) flag() bool {
	n := p.number()
	p.must(n == 0 || n == 1)
	return n == 1
}

func (p *entryParser) text() string {
	n, size := binary.Uvarint(p.left)
	if size <= 0 || n > uint64(len(p.left)-size) {
		p.bad, p.left = true, nil
		return ""
	}
	text := string(p.left[size : size+int(n)])
	p.left = p.left[size+int(n):]
	return text
}

func (p *entryParser) id() (id [16]byte) {
	if len(p.left) < len(id) {
		p.bad, p.left = true, nil
		return id
	}
	p.left = p.left[copy(id[:], p.left):]
	return id
}
