package permit_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// hello states what the player holds, and may still start; nothing when its lease is over.
func (p *play) hello(k *player) permit.Hello {
	h := permit.Hello{Instance: k.instance, Session: k.id, Epoch: k.epoch, Resume: k.hasSession}
	if !p.leased(k) {
		return h
	}
	for r := range k.parts {
		part := &k.parts[r]
		h.Held = append(h.Held, permit.Holding{
			Resource: resourceNames[r], Held: part.held, Version: part.target.Version, Target: part.target.Target,
			Ceiling: max(part.ceiling, 0), HasCeiling: part.ceiling >= 0,
		})
	}
	return h
}

// attach begins a stream. The welcome may be lost.
func (p *play) attach(k *player) error {
	p.cut(k, true)
	sent := max(k.clock(p.now), k.lastSent+1)
	k.lastSent = sent
	welcome, err := p.ledger.Attach(p.now, k.party, p.hello(k))
	if err != nil {
		return err
	}
	if !welcome.Resumed && k.hasSession && welcome.Epoch != k.epoch {
		p.seen.adoptions++
	}
	if p.pick(5) == 0 {
		p.ledger.Detach(p.now, welcome.Session)
		return nil
	}
	if !welcome.Resumed {
		if k.hasSession && k.epoch == welcome.Epoch { // it was given up
			for r := range k.parts {
				k.parts[r].held = 0
			}
		}
		for r := range k.parts {
			k.parts[r].target, k.parts[r].ceiling = permit.Target{}, -1
		}
	}
	k.hasSession, k.attached, k.welcomed = true, true, true
	k.id, k.name, k.epoch = welcome.Session, welcome.Session.Name(), welcome.Epoch
	k.sequence, k.got, k.sent = 0, 0, sent
	k.echo = sent
	return nil
}

func (p *play) send(k *player) {
	if !k.attached {
		return
	}
	k.sequence++
	k.lastSent = max(k.clock(p.now), k.lastSent+1)
	f := permit.WorkerFrame{Sequence: k.sequence, Sent: k.lastSent}
	for r := range k.parts {
		part := &k.parts[r]
		f.Reports = append(f.Reports, permit.Report{
			Resource: resourceNames[r], Version: part.target.Version, Held: part.held,
			Want: part.held + part.want, Ceiling: max(part.ceiling, 0), HasCeiling: part.ceiling >= 0,
			Priority: p.pick(7) / 3, Guarantee: int64(p.pick(12) / 9), Need: int64(p.pick(6)), Weight: p.pick(3),
			MeanHold: time.Duration(p.pick(100)) * time.Millisecond,
		})
	}
	k.up = append(k.up, f)
}

// deliverUp hands a frame that is in flight to the server, and now and then leaves it in flight to come again.
func (p *play) deliverUp(k *player) error {
	if len(k.up) == 0 {
		return nil
	}
	i := p.pick(len(k.up))
	f := k.up[i]
	if p.pick(3) > 0 {
		k.up = slices.Delete(k.up, i, i+1)
	}
	if p.pick(6) == 0 {
		return nil // lost
	}
	err := p.ledger.Receive(p.now, k.id, f)
	if errors.Is(err, permit.ErrNoSession) {
		p.seen.expiries++
		p.cut(k, false)
		return nil
	}
	if f.Sequence > k.got {
		k.got, k.sent = f.Sequence, f.Sent
	}
	p.seen.acks++
	return err
}

// serve lets the server do what it does after calls: advance, write down, send.
func (p *play) serve() error {
	p.ledger.Advance(p.now)
	for _, record := range p.ledger.TakeRecords(nil) {
		p.journal[journalKey{record.Session, record.Resource}] = record
	}
	for id := range p.ledger.Dirty() {
		if p.pick(8) == 0 {
			continue // busy
		}
		targets := p.ledger.TakeTargets(id, nil)
		for _, target := range targets {
			if err := p.order(id, target); err != nil {
				return err
			}
		}
		for _, k := range p.players {
			if k.id == id && k.attached {
				k.down = append(k.down, permit.ServerFrame{Epoch: k.epoch, Echo: k.sent, Targets: targets})
				break
			}
		}
	}
	for _, k := range p.players {
		if k.attached && p.pick(3) == 0 {
			k.down = append(k.down, permit.ServerFrame{Epoch: k.epoch, Echo: k.sent})
		}
	}
	return nil
}

// order checks that versions grow, and fences with each raise, that no two sessions have the same fences, and that
// nobody is given more than its part but what is guaranteed to it.
func (p *play) order(id permit.SessionID, target permit.Target) error {
	key := journalKey{id, target.Resource}
	last := p.newest[key]
	p.newest[key] = target
	mine := block{target.Resource, p.config.Epoch, target.Fence}
	if owner, ok := p.blocks[mine]; ok && owner != id && target.Fence > 0 {
		return fmt.Errorf("%s: two sessions have the fence %d", target.Resource, target.Fence)
	}
	p.blocks[mine] = id
	if most, ok := p.bounds[key]; ok && target.Target > max(most, target.Guarantee) {
		return fmt.Errorf("%s: target %d and guarantee %d, and the part is %d", target.Resource, target.Target,
			target.Guarantee, most)
	}
	switch {
	case target.Version < last.Version, target.Version == last.Version && target.Target > last.Target:
		return fmt.Errorf("%s: version %d of %d after %d of %d", target.Resource, target.Version, target.Target,
			last.Version, last.Target)
	case target.Fence < last.Fence, target.Target > last.Target && target.Fence == last.Fence:
		return fmt.Errorf("%s: fence %d for %d after %d for %d", target.Resource, target.Fence, target.Target,
			last.Fence, last.Target)
	}
	return nil
}

func (p *play) deliverDown(k *player) {
	if len(k.down) == 0 {
		return
	}
	i := p.pick(len(k.down))
	f := k.down[i]
	if p.pick(3) > 0 {
		k.down = slices.Delete(k.down, i, i+1)
	}
	if p.pick(6) == 0 {
		return
	}
	k.echo = max(k.echo, f.Echo)
	for _, target := range f.Targets {
		r := slices.Index(resourceNames, target.Resource)
		part := &k.parts[r]
		if target.Version <= part.target.Version {
			continue
		}
		if target.Target > part.target.Target {
			p.seen.raises++
		} else {
			p.seen.lowers++
		}
		part.target, part.ceiling = target, -1
	}
}

// beat lets everything go well for one player: it ends what it ran, starts what it may, and is answered.
func (p *play) beat(k *player, started []int64) error {
	for r := range k.parts {
		part := &k.parts[r]
		if part.held > 0 {
			part.held = 0
			if part.target.Contended {
				part.ceiling = 0
			}
		} else if n := part.allowed(); n > 0 && p.leased(k) {
			part.held = min(n, max(part.want, 0))
			started[r] += part.held
		}
	}
	k.up, k.sequence = nil, k.sequence+1
	k.lastSent = max(k.clock(p.now), k.lastSent+1)
	f := permit.WorkerFrame{Sequence: k.sequence, Sent: k.lastSent}
	for r := range k.parts {
		part := &k.parts[r]
		f.Reports = append(f.Reports, permit.Report{
			Resource: resourceNames[r], Version: part.target.Version, Held: part.held, Want: part.held + part.want,
			Ceiling: max(part.ceiling, 0), HasCeiling: part.ceiling >= 0,
		})
	}
	if err := p.ledger.Receive(p.now, k.id, f); err != nil {
		return err
	}
	k.got, k.sent = f.Sequence, f.Sent
	k.echo = f.Sent
	p.ledger.Advance(p.now)
	for _, record := range p.ledger.TakeRecords(nil) {
		p.journal[journalKey{record.Session, record.Resource}] = record
	}
	for id := range p.ledger.Dirty() {
		for _, other := range p.players {
			if other.id == id {
				other.down = append(other.down, permit.ServerFrame{Targets: p.ledger.TakeTargets(id, nil)})
				break
			}
		}
	}
	for _, f := range k.down {
		for _, target := range f.Targets {
			if part := &k.parts[slices.Index(resourceNames, target.Resource)]; target.Version > part.target.Version {
				part.target, part.ceiling = target, -1
			}
		}
	}
	k.down = nil
	return p.check()
}
