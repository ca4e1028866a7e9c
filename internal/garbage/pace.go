// Package garbage lets a program that keeps little in memory collect its garbage less often while it is busy.
package garbage

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// busyHeap is to what the heap of a busy program may grow before it is collected, in bytes.
	busyHeap = 32 << 20

	// soon and seldom are how long after the last one a collection comes in a program that is busy: one that is not
	// yet taken for it, and one that is, in which the heap grows further meanwhile.
	soon   = time.Second
	seldom = 5 * time.Second

	// manyCollections come in a row before a program is taken for busy; in its start there are fewer.
	manyCollections = 16

	// The percentage by which the runtime lets the heap grow by itself, and the greatest: the runtime collects no heap of
	// less than 4 MiB for each 100 %.
	standardPercent = 100
	mostPercent     = 800
)

// Pace lets the heap of this process grow to 32 MiB between two collections while it is busy, as long as it lives. By
// itself the runtime collects whenever as much was allocated as is in use: a server that keeps 5 MiB and leases 14,000
// permits a second by calls collects 30 times a second, which is a seventh of its time. A process is busy that has
// collected 16 times, each within a second of the one before, until it has not collected for 5 s; the runtime collects
// once in 2 min at least. Where more than 16 MiB are in use nothing changes.
//
// Pace does nothing where the environment sets GOGC. GOMEMLIMIT holds as ever. Call it at most once.
func Pace() {
	if os.Getenv("GOGC") == "" {
		(&pacer{percent: standardPercent, last: time.Now()}).watch()
	}
}

// pacer decides on the percentage of debug.SetGCPercent after each collection.
type pacer struct {
	percent int
	last    time.Time // of the collections
	row     int       // of those that came soon after one another
}

// collected is an object that the next collection finds unused. It is no tiny one, which may live on with others.
type collected [32]byte

func (p *pacer) watch() { runtime.AddCleanup(new(collected), (*pacer).adjust, p) }

func (p *pacer) adjust() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	before := p.percent
	if p.after(time.Now(), live[0].Value.Uint64()); p.percent != before {
		debug.SetGCPercent(p.percent)
	}
	p.watch()
}

// after takes a collection into account that left so many bytes in use.
func (p *pacer) after(now time.Time, live uint64) {
	limit := soon
	if p.percent != standardPercent {
		limit = seldom
	}
	if now.Sub(p.last) < limit {
		p.row++
	} else {
		p.row = 0
	}
	p.last = now
	percent := standardPercent
	// In steps, as each change stops the program for a moment.
	for p.row >= manyCollections && live*uint64(100+2*percent) <= busyHeap*100 && percent < mostPercent {
		percent *= 2
	}
	p.percent = percent
}
