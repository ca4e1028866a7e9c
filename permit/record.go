package permit

import (
	"math/bits"

	"github.com/headroom-rpc/headroom/internal/mistake"
)

// maxRecords bounds the records that nobody took. While there are as many, nothing is raised.
const maxRecords = 1 << 20

// ceilingFor returns what is noted down before a charge of k: the next power of two, so that a charge that
// grows is noted down seldom, but no more than the limit where that is enough.
func ceilingFor(k, limit int64) int64 {
	if k <= 1 {
		return k
	}
	power := int64(1) << bits.Len64(uint64(k-1))
	return min(power, max(limit, k))
}

// record notes down a ceiling.
func (l *Ledger) record(sh *share, ceiling int64) {
	sh.ceiling = ceiling
	s := sh.session
	l.note(Record{
		Epoch: l.epoch, Instance: s.instance, Identity: s.identity.name, Session: s.id,
		Resource: sh.resource.name, Ceiling: ceiling,
	})
}

// note adds a record. One that only says that something ended may be lost: a later life then waits for it.
func (l *Ledger) note(r Record) {
	if r.Ceiling > 0 || len(l.records) < maxRecords {
		l.records = append(l.records, r)
	}
}

// TakeRecords appends to dst the records that must be written down before the targets of [Ledger.TakeTargets]
// are sent, and forgets them. A caller that keeps none must take them all the same: nothing is raised while
// about a million wait.
func (l *Ledger) TakeRecords(dst []Record) []Record {
	if len(l.unsettled) > 0 && mistake.Planted(mistake.RecordAfterGrant) {
		return dst
	}
	dst = append(dst, l.records...)
	clear(l.records)
	l.records = l.records[:0]
	return dst
}
