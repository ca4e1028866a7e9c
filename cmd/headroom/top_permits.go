package main

import (
	"fmt"
	"strings"

	"github.com/headroom-rpc/headroom/permit"
)

var permitColumns = []topColumn{
	{head: "PERMITS", least: 13}, {head: "LIMIT", right: true}, {head: "CHARGE", right: true}, {head: "HELD", right: true},
	{head: "WANT", right: true}, {head: "WAIT", right: true, least: 6}, {head: "LAW", from: 120}, {head: "WHAT BINDS"},
}

// permitRows returns a row for each resource and then one for each resource of each session.
func permitRows(resources []permit.ResourceAccount, sessions []permit.SessionAccount) []topRow {
	var rows []topRow
	for i := range resources {
		a := &resources[i]
		rows = append(rows, topRow{key: permitKey(a.Resource, ""), cells: []topCell{
			{cell: cell{text: clean(a.Resource), style: styleOfResource(a)}},
			countCell(a.Limit), countCell(a.Charge + a.Unknown), countCell(a.Held), countCell(a.Want),
			{rightCell(waitText(a.OldestWait)), float64(a.OldestWait)},
			{cell: cell{text: clean(a.Law)}},
			{cell: cell{text: clean(bindingText(a))}},
		}})
	}
	for i := range sessions {
		s := &sessions[i]
		for k := range s.Shares {
			share := &s.Shares[k]
			rows = append(rows, topRow{key: permitKey(share.Resource, s.Name), group: 1, cells: []topCell{
				{cell: cell{text: clean(share.Resource + " " + s.Client)}},
				countCell(share.Target), countCell(share.Charge), countCell(share.Held), countCell(share.Want),
				{rightCell(waitText(share.OldestWait)), float64(share.OldestWait)},
				{},
				{cell: sessionCell(s)},
			}})
		}
	}
	return rows
}

func countCell(n int64) topCell { return topCell{numberCell(n), float64(n)} }

// sessionCell says how a session is and whose.
func sessionCell(s *permit.SessionAccount) cell {
	c := cell{text: "live"}
	if s.State != permit.SessionLive {
		c = cell{text: "silent " + humanDuration(s.Silence), style: styleUnknown}
	}
	c.text += " " + clean(s.Party.Identity)
	if s.Party.PID > 0 {
		c.text += fmt.Sprintf(" pid %d", s.Party.PID)
	}
	c.text += " " + clean(s.Name)
	return c
}

// permitKey names a row of the permits; a session of "" is the resource itself. Neither name holds a space.
func permitKey(resource, session string) string { return resource + " " + session }

func fromPermitKey(key string) (resource, session string) {
	resource, session, _ = strings.Cut(key, " ")
	return resource, session
}
