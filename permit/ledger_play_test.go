package permit_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

var resourceNames = []string{"a", "b"}

// A play drives a ledger with workers that keep to the protocol, over streams that lose, delay, double and
// reorder frames, through deaths and restarts of both sides, and looks after each step whether every invariant
// holds. pick chooses what happens: it returns a number from 0 to n-1.
type play struct {
	pick    func(n int) int
	ledger  *permit.Ledger
	config  permit.Config
	now     time.Duration
	players []*player
	journal map[journalKey]permit.Record
	owed    map[string]int64 // charge and unknown after the last step
	blocks  map[block]permit.SessionID
	newest  map[journalKey]permit.Target // that was sent
	bounds  map[journalKey]int64         // by SetPart
	ids     uint64
	seen    struct{ raises, lowers, acks, restarts, adoptions, expiries, parts int }
}

// A block of fences belongs to one session.
type block struct {
	resource string
	epoch    int64
	fence    int64
}

type journalKey struct {
	session  permit.SessionID
	resource string
}

// A player is the model of a worker: simple, without regard to speed.
type player struct {
	party    permit.Party
	instance permit.InstanceID
	offset   time.Duration // of its clock

	hasSession, attached, welcomed bool
	id                             permit.SessionID
	name                           string
	epoch                          int64
	sequence                       int64
	lastSent, echo                 time.Duration
	parts                          []part

	up   []permit.WorkerFrame // in flight, of this stream
	down []permit.ServerFrame
	got  int64         // the newest sequence that the server had
	sent time.Duration // Sent of it
}

type part struct {
	target     permit.Target
	held, want int64
	ceiling    int64 // -1 is none
}

func newPlay(pick func(n int) int) (*play, error) {
	p := &play{
		pick: pick, now: 100 * time.Second, journal: make(map[journalKey]permit.Record),
		owed:   make(map[string]int64),
		blocks: make(map[block]permit.SessionID), newest: make(map[journalKey]permit.Target),
		bounds: make(map[journalKey]int64),
	}
	p.config = permit.Config{
		Epoch: 1,
		Resources: []permit.Resource{
			{Name: "a", Limit: 1 + int64(pick(10)), Default: permit.Grant{MaxPriority: 5, MaxGuarantee: 4}},
			{Name: "b", Limit: int64(pick(100)), Grants: map[string]permit.Grant{"uid:0": {Max: 7, Weight: 3}}},
		},
		NewSession: func() (id permit.SessionID) {
			p.ids++
			binary.BigEndian.PutUint64(id[8:], p.ids)
			return id
		},
	}
	for i := range 2 + pick(6) {
		k := &player{party: permit.Party{Identity: fmt.Sprintf("uid:%d", i/2)}, offset: time.Duration(pick(3)-1) * 20 * time.Second}
		k.reborn(byte(i))
		p.players = append(p.players, k)
	}
	var err error
	p.ledger, err = permit.NewLedger(p.now, p.config)
	return p, err
}

// reborn makes the player a new process.
func (k *player) reborn(n byte) {
	first, generation := k.instance[0], k.instance[1]
	if k.parts != nil {
		n = first
	}
	*k = player{party: k.party, offset: k.offset, instance: permit.InstanceID{n, generation + 1}}
	k.parts = []part{{ceiling: -1, want: 3}, {ceiling: -1, want: 30}}
}

func (k *player) clock(now time.Duration) time.Duration { return now + k.offset }

func (p *play) leased(k *player) bool {
	return k.hasSession && k.clock(p.now) < k.echo+permit.DefaultTTL-permit.DefaultTTL/100
}

// may is the most that the player can hold of a resource now.
func (p *play) may(k *player, r int) int64 {
	part := &k.parts[r]
	most := part.held
	if p.leased(k) {
		most = max(most, part.allowed())
	}
	return most
}

func (q *part) allowed() int64 {
	if q.ceiling >= 0 {
		return min(q.ceiling, q.target.Target)
	}
	return q.target.Target
}

func (p *play) step() error {
	if err := p.act(); err != nil {
		return err
	}
	for _, k := range p.players { // whose lease is over stops what it runs
		if !p.leased(k) {
			for r := range k.parts {
				k.parts[r].held = 0
			}
		}
	}
	return p.check()
}

func (p *play) act() error {
	k := p.players[p.pick(len(p.players))]
	r := p.pick(len(k.parts))
	if !k.attached && p.pick(2) == 0 {
		return p.attach(k)
	}
	switch p.pick(24) {
	case 0:
		p.now += time.Duration(p.pick(300)) * time.Millisecond
	case 1:
		p.now += time.Duration(p.pick(50)) * time.Millisecond
	case 2:
		if p.pick(20) == 0 {
			p.now += time.Duration(p.pick(10)) * time.Second
		}
	case 3, 4, 5:
		p.send(k)
	case 6, 7, 8:
		return p.deliverUp(k)
	case 9, 10, 11:
		return p.serve()
	case 12, 13:
		p.deliverDown(k)
	case 14:
		k.parts[r].want = int64(p.pick(1 << p.pick(7)))
	case 15:
		if part := &k.parts[r]; p.leased(k) {
			part.held += int64(p.pick(int(max(min(part.allowed(), 1000)-part.held, 0)) + 1))
		}
	case 16:
		if part := &k.parts[r]; part.held > 0 {
			part.held -= int64(p.pick(int(part.held)) + 1)
			if part.target.Contended && p.pick(2) == 0 || p.pick(8) == 0 {
				part.ceiling = part.held // from now on nothing more is started; the report says so
			}
		}
	case 17:
		if p.pick(5) == 0 {
			return p.upset(k)
		}
	case 18:
		if p.pick(3) == 0 {
			return p.operate(k, resourceNames[r])
		}
	case 19:
		if p.pick(5) == 0 {
			return p.attach(k)
		}
	case 20, 21, 22, 23: // all goes well
		p.send(k)
		if err := p.deliverUp(k); err != nil {
			return err
		}
		if err := p.serve(); err != nil {
			return err
		}
		p.deliverDown(k)
	}
	return nil
}

// upset lets a stream break, or a worker or the server die.
func (p *play) upset(k *player) error {
	switch p.pick(8) {
	case 0, 1, 2:
		p.cut(k, true)
	case 3: // the process dies, and the kernel says so
		id, had := k.id, k.hasSession
		p.cut(k, true)
		k.reborn(0)
		if had {
			p.ledger.End(p.now, id)
		}
	case 4: // the process dies on another host
		p.cut(k, true)
		k.reborn(0)
	case 5: // goodbye
		if k.attached && k.welcomed {
			k.sequence++
			f := permit.WorkerFrame{Sequence: k.sequence, Goodbye: true}
			if err := p.ledger.Receive(p.now, k.id, f); err != nil && !errors.Is(err, permit.ErrNoSession) {
				return err
			}
			p.cut(k, false)
			k.reborn(0)
		}
	case 6:
		return p.restart(p.pick(4) == 0)
	case 7: // somebody else says that it is this worker, and holds nothing
		h := p.hello(k)
		for i := range h.Held {
			h.Held[i].Held, h.Held[i].Ceiling, h.Held[i].HasCeiling = 0, 0, true
		}
		_, err := p.ledger.Attach(p.now, permit.Party{Identity: "uid:666"}, h)
		if err != nil && !errors.Is(err, permit.ErrNotOwner) {
			return err
		}
	}
	return nil
}

func (p *play) cut(k *player, tell bool) {
	if k.attached && tell {
		p.ledger.Detach(p.now, k.id)
	}
	k.attached, k.welcomed = false, false
	k.up, k.down = nil, nil
}

func (p *play) restart(amnesia bool) error {
	p.seen.restarts++
	p.config.Epoch++
	p.config.Amnesia, p.config.Recovered = amnesia, nil
	for _, record := range p.journal {
		if record.Ceiling > 0 {
			p.config.Recovered = append(p.config.Recovered, record)
		}
	}
	slices.SortFunc(p.config.Recovered, func(a, b permit.Record) int {
		if n := slices.Compare(a.Session[:], b.Session[:]); n != 0 {
			return n
		}
		return slices.Compare([]byte(a.Resource), []byte(b.Resource))
	})
	for i := range p.config.Resources {
		a, err := p.ledger.Account(p.now, p.config.Resources[i].Name)
		if err != nil {
			return err
		}
		if amnesia { // what it knows is the limit, so that has to cover what is out
			p.config.Resources[i].Limit = max(p.config.Resources[i].Limit, a.Charge+a.Unknown)
		}
	}
	var err error
	if p.ledger, err = permit.NewLedger(p.now, p.config); err != nil {
		return err
	}
	clear(p.owed)
	for _, k := range p.players {
		p.cut(k, false)
	}
	return nil
}

// setLimit keeps the limit in mind besides: an account states 0 while a mode lets nothing start.
func (p *play) setLimit(resource string, limit int64) error {
	p.config.Resources[slices.Index(resourceNames, resource)].Limit = limit
	return p.ledger.SetLimit(p.now, resource, limit, "test")
}

func (p *play) operate(k *player, resource string) error {
	switch p.pick(11) {
	case 0, 1, 2:
		return p.setLimit(resource, int64(p.pick(2<<p.pick(8))))
	case 3:
		if p.pick(3) == 0 {
			return p.ledger.SetMode(p.now, resource, permit.Mode(1+p.pick(3)), time.Second, "test")
		}
	case 4, 5:
		return p.ledger.SetMode(p.now, resource, permit.ModeNormal, 0, "")
	case 6:
		if all := p.ledger.Sessions(p.now, nil); len(all) > 0 && p.pick(3) == 0 {
			_, _, err := p.ledger.Kick(p.now, all[p.pick(len(all))].Name, "test")
			return err
		}
	case 7:
		_, err := p.ledger.Explain(p.now, resource, func(string, permit.Party) bool { return p.pick(2) == 0 })
		return err
	case 8, 9:
		p.bound(k, resource, p.part())
	case 10:
		p.ledger.SetNewPart(resource, p.part(), "test")
	}
	return nil
}

// bound sets the part of a player that has the resource.
func (p *play) bound(k *player, resource string, part int64) {
	for _, s := range p.ledger.Sessions(p.now, nil) {
		for _, share := range s.Shares {
			if s.Name == k.name && share.Resource == resource {
				p.ledger.SetPart(p.now, resource, k.id, part, "test")
				p.bounds[journalKey{k.id, resource}] = part
				p.seen.parts++
			}
		}
	}
}

// part is a bound of what one session has, half the time none.
func (p *play) part() int64 {
	if p.pick(2) == 0 {
		return permit.MaxLimit
	}
	return int64(p.pick(8))
}

// check returns what does not hold.
func (p *play) check() error {
	if err := p.ledger.Check(); err != nil {
		return err
	}
	charges := make(map[string]map[string]int64) // by name and resource
	for _, s := range p.ledger.Sessions(p.now, nil) {
		charges[s.Name] = make(map[string]int64)
		for _, share := range s.Shares {
			charges[s.Name][share.Resource] = share.Charge
		}
	}
	for r, name := range resourceNames {
		a, err := p.ledger.Account(p.now, name)
		if err != nil {
			return err
		}
		// Grant safety: what is charged and unknown is not raised over the limit.
		owed := a.Charge + a.Unknown
		if before, ok := p.owed[name]; ok && owed > max(p.config.Resources[r].Limit, before) {
			return fmt.Errorf("%s: charge %d and unknown %d rose from %d over the limit of %d",
				name, a.Charge, a.Unknown, before, p.config.Resources[r].Limit)
		}
		p.owed[name] = owed
		// And it covers whatever the workers can hold.
		var may int64
		for _, k := range p.players {
			n := p.may(k, r)
			may += n
			if k.hasSession && k.welcomed && n > charges[k.name][name] && k.epoch == p.config.Epoch {
				return fmt.Errorf("%s: session %s may hold %d and is charged %d", name, k.name, n,
					charges[k.name][name])
			}
		}
		if may > owed {
			return fmt.Errorf("%s: workers may hold %d, and %d is charged or unknown", name, may, owed)
		}
	}
	return nil
}

// String says what a play was like.
func (p *play) String() string { return fmt.Sprintf("at %v: %+v", p.now, p.seen) }
