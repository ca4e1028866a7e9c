package client

import (
	"context"
	"fmt"

	"github.com/headroom-rpc/headroom/severity"
)

// Handlers tells h of what happens to the severity that WatchSeverity follows, so that the same handlers serve
// in process and here. It blocks until ctx is done, and then returns nil, or until to go on is in vain, and
// then returns the error of [Client.WatchSeverity]. It does not close h. Nothing else may feed h meanwhile.
//
// Handlers are told of every level that is entered and left, one step at a time. Where no transition led from
// the level that they know to the present one, which is so at the start and after a [Gap], they are told of
// made-up transitions through every level between: with sequence 0 and the severity that came in their place
// as evidence. While the stream is stale the level is held. "Remaining" is told with each update that brings no
// transition, so at least once per max_silence of the server, of the highest level in effect.
func (c *Client) Handlers(ctx context.Context, h *severity.Handlers, o SeverityOptions) error {
	f := &feed{client: c, handlers: h, level: h.Applied()}
	for update, err := range c.WatchSeverity(ctx, o) {
		if err != nil {
			return err
		}
		f.take(update)
	}
	return nil
}

// feed keeps handlers in step with a stream.
type feed struct {
	client   *Client
	handlers *severity.Handlers
	level    int    // as far as the handlers were told, or will be
	known    bool   // whether an update was taken that was not stale
	sequence uint64 // of the last transition that was told
}

func (f *feed) take(u SeverityUpdate) {
	if u.Stale {
		return
	}
	if !f.known || u.Gap != NoGap {
		why := fmt.Sprintf("the level was %d at the start", u.Severity.Level)
		if u.Gap != NoGap {
			why = "transitions were missed: " + u.Gap.String()
		}
		moved := f.walk(u.Severity, u.Severity.Level, why)
		f.known, f.sequence = true, u.Severity.Sequence
		if !moved && u.Transition == nil {
			f.handlers.Remain(f.level)
		}
		return
	}
	switch t := u.Transition; {
	case t != nil:
		const why = "no transition led here"
		f.walk(u.Severity, t.From, why)
		if told := *t; told.To-told.From == 1 || told.From-told.To == 1 {
			told.At = f.client.Now()
			f.apply(told)
		}
		f.walk(u.Severity, t.To, why)
		f.sequence = t.Sequence
	case u.Severity.Sequence == f.sequence: // else transitions are still to come
		f.handlers.Remain(f.level)
	}
}

// walk tells of a made-up transition for each step to the level, and reports whether there was any.
func (f *feed) walk(s Severity, level int, why string) (moved bool) {
	for f.level != level {
		t := severity.Transition{From: f.level, To: f.level - 1, At: f.client.Now(), Time: s.Since}
		truth := severity.False
		if level > f.level {
			t.To, truth = f.level+1, severity.True
			t.Evidence = s.Evidence
		}
		if len(t.Evidence) == 0 {
			t.Evidence = []severity.Evidence{{
				Level: max(t.From, t.To), Text: why, Finding: severity.Finding{Truth: truth},
			}}
		}
		f.apply(t)
		moved = true
	}
	return moved
}

func (f *feed) apply(t severity.Transition) {
	f.handlers.Apply(t)
	f.level = t.To
}
