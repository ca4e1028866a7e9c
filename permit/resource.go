package permit

import (
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/internal/mistake"
)

const bands = MaxPriority - MinPriority + 1

// A resource is the account of one resource. Its limit is what is free, and charge, and unknown.
type resource struct {
	name    string
	config  Resource
	limit   int64
	binding string // of the limit
	binds   limitTexts

	mode        Mode
	cancelAfter time.Duration
	reason      string // of the mode
	stance      int    // counts changes of the mode

	charge     int64 // sum over shares
	unknown    int64 // sum over what recovery has of it
	claimable  int64 // where recovery knows nothing: the greatest limit since the start
	held, want int64 // sums over shares
	guaranteed int64 // sum over shares
	shares     int
	mismatches int64

	overclaimed bool // whether more was claimed from an earlier life than the limit

	fence  int64 // counts the fences that were reserved
	serves int64 // counts raises

	holders map[string]*holder
	bands   [bands]band // the highest priority first

	dirty     bool          // whether it is among those to be looked at
	changed   bool          // whether it is to be shared out again, and not only what became free
	planned   time.Duration // when it was shared out last
	tight     bool          // whether more is wanted than there is, taken from what is used
	assured   int64         // what is guaranteed and wanted, in the last pass
	short     bool          // whether there was less than is guaranteed, in the last pass
	scarce    bool          // whether somebody's want is not served
	since     time.Duration // since when it is scarce, or is not
	review    time.Duration // when to share out again without another reason, if reviewing
	reviewing bool
	unserved  int64   // permits wanted and not had, over all sessions
	wanted    int64   // by all sessions, as they say
	releases  float64 // permits that end a second, by what the workers say
	ready     bool    // whether releases is known
	gather    gathering

	newPart        int64 // of a share that begins
	newPartBinding string
}

func (r *resource) free() int64 { return r.limit - r.charge - r.unknown }

// grant returns what the identity may do.
func (r *resource) grant(identity string) Grant {
	if g, named := r.config.Grants[identity]; named {
		return g
	}
	return r.config.Default
}

// A holder is one identity's part of one resource.
type holder struct {
	identity   *identity
	grant      Grant
	charge     int64 // sum over shares
	guaranteed int64 // sum over shares
	shares     int
	meanHold   time.Duration // of sessions that ended before they said theirs; 0 while unknown
	wanted     int64         // by the bands that were looked at in the pass
	pass       int64         // of wanted
}

func (h *holder) weight() int64 { return max(int64(h.grant.Weight), 1) }

// A band holds those of one priority.
type band struct {
	groups []*group
	turn   int64 // of the band among bands
	clock  int64 // the turn that was served last among its groups
}

// A group is one identity's sessions in one band.
type group struct {
	holder *holder
	band   int
	place  int // in the band
	shares []*share
	turn   int64 // of the group among those of its band
	clock  int64 // the turn that was served last among its shares

	// What follows is of one pass.
	from, to        int   // its shares that may be given something, in the pass
	want, sure, has int64 // sums over them, bounded by the identity's quota
	wish            int64 // the same sum as want, unbounded
	give, whole     int64
}

// A share is one session's part of one resource.
type share struct {
	session  *session
	resource *resource
	holder   *holder
	group    *group
	place    int // in the group
	charge   charge
	sequence int64 // of the frame of the newest report

	want, need    int64
	weight        int64
	priority      int
	asked         int64 // the guarantee
	guarantee     int64 // as admitted
	meanHold      time.Duration
	usage, first  Usage
	used          time.Duration // when usage came, if hasUsage
	hasUsage      bool
	part          int64 // the bound by SetPart
	partBinding   string
	heldSince     time.Duration // since when it holds something
	heldSum       float64       // permit-seconds until heldAt
	heldAt        time.Duration // when held changed last
	waiting       bool
	waitSince     time.Duration // as the worker says
	short         bool          // whether the task that waits longest needs more than its part
	shortSince    time.Duration // as seen here
	use           use
	turn          int64 // among those of its group
	serve         int64 // number of the last raise
	fence         int64
	ceiling       int64 // as recorded
	served        bool  // whether it may be given anything
	wish          int64 // what it is taken to want, in the last pass
	give, whole   int64 // of the last pass
	idle          bool  // whether what goes round is to leave it
	contended     bool  // of the last target
	toldGuarantee int64
	toldMost      int64
	stance        int
	sentAt        time.Duration
	reportWithin  time.Duration // of the target to be sent
	unsettled     bool          // whether a target is to be sent
}

// join adds a share of the resource to a session.
func (l *Ledger) join(s *session, r *resource) *share {
	h := r.holders[s.identity.name]
	if h == nil {
		h = &holder{identity: s.identity, grant: r.grant(s.identity.name)}
		r.holders[s.identity.name] = h
	}
	sh := &share{session: s, resource: r, holder: h, need: 1, weight: 1, use: use{cap: MaxLimit}, stance: -1,
		part: r.newPart, partBinding: r.newPartBinding, served: s.served()}
	h.shares++
	r.shares++
	s.shares = append(s.shares, sh)
	r.enter(sh, 0)
	l.touch(r)
	return sh
}

// enter puts a share into the group of a priority.
func (r *resource) enter(sh *share, priority int) {
	sh.priority = priority
	b := &r.bands[MaxPriority-priority]
	var g *group
	for _, other := range b.groups {
		if other.holder == sh.holder {
			g = other
			break
		}
	}
	if g == nil {
		g = &group{holder: sh.holder, band: MaxPriority - priority, place: len(b.groups), turn: b.clock}
		b.groups = append(b.groups, g)
	}
	sh.group, sh.place = g, len(g.shares)
	sh.turn = g.clock
	g.shares = append(g.shares, sh)
}

// exit takes a share out of its group.
func (r *resource) exit(sh *share) {
	g := sh.group
	last := len(g.shares) - 1
	g.shares[sh.place] = g.shares[last]
	g.shares[sh.place].place = sh.place
	g.shares = slices.Delete(g.shares, last, last+1)
	if last == 0 {
		b := &r.bands[g.band]
		end := len(b.groups) - 1
		b.groups[g.place] = b.groups[end]
		b.groups[g.place].place = g.place
		b.groups = slices.Delete(b.groups, end, end+1)
	}
	sh.group = nil
}

// leave ends a share: what it was charged is free.
func (l *Ledger) leave(sh *share) {
	r, h := sh.resource, sh.holder
	if sh.charge.held > 0 && sh.meanHold == 0 { // one task was all its work
		if took := max(l.now-sh.heldSince, 1); h.meanHold == 0 {
			h.meanHold = took
		} else {
			h.meanHold += (took - h.meanHold) / 8
		}
	}
	k := sh.charge.amount()
	r.charge -= k
	h.charge -= k
	r.held -= sh.charge.held
	r.want -= sh.want
	r.guaranteed -= sh.guarantee
	h.guaranteed -= sh.guarantee
	r.exit(sh)
	r.shares--
	if h.shares--; h.shares == 0 {
		delete(r.holders, h.identity.name)
	}
	if r.gather.by == sh {
		l.gathered(r)
	}
	if sh.ceiling > 0 {
		l.record(sh, 0)
	}
	sh.unsettled = false
	l.touch(r)
}

// recharge does what changes the charge of a share, and keeps the sums.
func (l *Ledger) recharge(sh *share, change func(*charge)) {
	before, held, target := sh.charge.amount(), sh.charge.held, sh.charge.target
	change(&sh.charge)
	sh.group.has += sh.charge.target - target
	delta := sh.charge.amount() - before
	sh.resource.charge += delta
	sh.holder.charge += delta
	sh.resource.held += sh.charge.held - held
	if held == 0 && sh.charge.held > 0 {
		sh.heldSince = l.now
	}
	if held != sh.charge.held {
		sh.heldSum += float64(held) * (l.now - sh.heldAt).Seconds()
		sh.heldAt = l.now
	}
	if delta < 0 {
		l.nudge(sh.resource)
	}
}

// aim makes target the newest of the share, and notes it down first if it may pass what was noted down.
func (l *Ledger) aim(sh *share, target int64) {
	raised := target > sh.charge.target
	l.recharge(sh, func(c *charge) { c.set(target) })
	if raised {
		sh.fence = l.reserve(sh)
		sh.use.restart(l.now, sh.charge.held)
		sh.resource.serves++
		sh.serve = sh.resource.serves
	}
	if k := sh.charge.amount(); k > sh.ceiling {
		l.record(sh, ceilingFor(k, sh.resource.limit))
	}
	l.unsettle(sh)
}

// reserve takes the next block of fences.
func (l *Ledger) reserve(sh *share) int64 {
	if mistake.Planted(mistake.FenceLocal) {
		return sh.fence + FenceBlock
	}
	r := sh.resource
	base := r.fence + 1
	if r.fence <= maxFence-FenceBlock {
		r.fence += FenceBlock
	}
	return base
}

// maxFence is more than a resource can reserve at a million raises a second for six days; after it the last
// block is repeated until there is a new epoch.
const maxFence = 1<<63 - 1 - 2*FenceBlock

// touch makes the resource one to be shared out again.
func (l *Ledger) touch(r *resource) {
	r.changed = true
	l.look(r)
}

// nudge is touch for what changes often while permits are scarce, and then hardly changes anybody's part: that
// something became free, or that one waits more or less. Then what is free goes to the next, and it is shared
// out again only now and then.
func (l *Ledger) nudge(r *resource) {
	if !r.tight || l.now >= r.planned+r.planInterval() {
		r.changed = true
	}
	l.look(r)
}

func (l *Ledger) look(r *resource) {
	if !r.dirty {
		r.dirty = true
		l.dirty = append(l.dirty, r)
	}
}
