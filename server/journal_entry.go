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
	boot  string // identifies the host's boot; empty where it has no such name

	// blind is until when it does not know what an earlier life granted, by the clock of that boot. 0 when it
	// did from the start.
	blind time.Duration
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
		dst = binary.AppendVarint(dst, e.begin.epoch)
		return binary.AppendVarint(appendText(dst, e.begin.boot), int64(e.begin.blind))
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
		unbounded := int64(0)
		if l.owner.Unbounded {
			unbounded = 1
		}
		for _, n := range []int64{unbounded, int64(l.priority), l.count, l.fence.Epoch, l.fence.Counter, int64(l.ttl), int64(l.until)} {
			dst = binary.AppendVarint(dst, n)
		}
		return dst
	default:
		return append(dst, e.end[:]...)
	}
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
		e.begin = journalBegin{epoch: p.number(), boot: p.text(), blind: time.Duration(p.number())}
		p.must(e.begin.epoch >= 1)
	case entryCeiling:
		r := &e.ceiling
		r.Epoch, r.Instance, r.Session = p.number(), p.id(), p.id()
		r.Identity, r.Resource, r.Ceiling = p.text(), p.text(), p.number()
		p.must(r.Epoch >= 1 && r.Ceiling >= 0 && r.Ceiling <= permit.MaxLimit)
	case entryLease:
		l := &e.lease
		l.id, l.instance = p.id(), p.id()
		l.owner.Identity, l.resource, l.request, l.client = p.text(), p.text(), p.text(), p.text()
		l.owner.Unbounded, l.priority, l.count = p.number() != 0, int(p.number()), p.number()
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
