package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// permitsText returns the resources and the sessions as tables.
func permitsText(list *headroomv1.ListSessionsResponse) string {
	text := formatTable(resourceTable(list.GetResources()))
	if len(list.GetSessions()) > 0 {
		text += "\n" + formatTable(sessionTable(list.GetSessions()))
	}
	return text
}

func numberCell(n int64) cell { return cell{text: strconv.FormatInt(n, 10), right: true} }

// waitText prints how long somebody waits, or that nobody does.
func waitText(d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	return humanDuration(d)
}

// resourceTable returns a row a resource, and under it one for each law that is tried and not followed.
func resourceTable(resources []*headroomv1.ResourceAccount) [][]cell {
	rows := [][]cell{header("RESOURCE", ">LIMIT", ">CHARGE", ">UNKNOWN", ">HELD", ">WANT", ">SESSIONS", ">WAIT", "LAW", "WHAT BINDS")}
	for _, message := range resources {
		a := wire.ResourceAccountFrom(message)
		rows = append(rows, []cell{
			{text: clean(a.Resource), style: styleOfResource(&a)}, numberCell(a.Limit), numberCell(a.Charge), numberCell(a.Unknown),
			numberCell(a.Held), numberCell(a.Want), numberCell(int64(a.Sessions)), {text: waitText(a.OldestWait), right: true},
			{text: clean(a.Law)}, {text: clean(bindingText(&a))},
		})
		for _, s := range message.GetShadows() {
			row := make([]cell, len(rows[0]))
			row[1] = numberCell(s.GetLimit())
			row[8], row[9] = cell{text: clean("would " + s.GetLaw())}, cell{text: clean(s.GetBinding())}
			rows = append(rows, row)
		}
	}
	return rows
}

// styleOfResource marks a resource that nothing more can be had of.
func styleOfResource(a *permit.ResourceAccount) lipgloss.Style {
	switch {
	case a.Mode != permit.ModeNormal:
		return styleOverloaded
	case a.Charge+a.Unknown >= a.Limit && a.Want > a.Held:
		return styleUnknown
	default:
		return stylePlain
	}
}

// bindingText says what binds a resource, beginning with the mode where it is not the normal one.
func bindingText(a *permit.ResourceAccount) string {
	var parts []string
	if a.Mode != permit.ModeNormal {
		parts = append(parts, a.Mode.String())
	}
	if a.Binding != "" {
		parts = append(parts, a.Binding)
	}
	switch {
	case len(parts) > 0:
		return strings.Join(parts, ": ")
	case a.Want > a.Charge && a.Charge+a.Unknown >= a.Limit:
		return fmt.Sprintf("the limit of %d", a.Limit)
	default:
		return "-"
	}
}

// sessionTable returns a row for each resource of each session.
func sessionTable(sessions []*headroomv1.SessionAccount) [][]cell {
	rows := [][]cell{header("SESSION", "CLIENT", "IDENTITY", ">PID", "STATE", "RESOURCE", ">CHARGE", ">HELD", ">TARGET", ">WANT", ">WAIT")}
	for _, message := range sessions {
		s := wire.SessionAccountFrom(message)
		pid, state := "-", cell{text: "live", style: styleIdle}
		if s.Party.PID > 0 {
			pid = strconv.Itoa(s.Party.PID)
		}
		if s.State != permit.SessionLive {
			state = cell{text: "silent " + humanDuration(s.Silence), style: styleUnknown}
		}
		shares := s.Shares
		if len(shares) == 0 {
			shares = []permit.SessionShare{{Resource: "-"}}
		}
		for i := range shares {
			share := &shares[i]
			rows = append(rows, []cell{
				{text: clean(s.Name)}, {text: clean(s.Client)}, {text: clean(s.Party.Identity)}, {text: pid, right: true}, state,
				{text: clean(share.Resource)}, numberCell(share.Charge), numberCell(share.Held), numberCell(share.Target),
				numberCell(share.Want), {text: waitText(share.OldestWait), right: true},
			})
		}
	}
	return rows
}

// resourceLine returns a resource on one line, as it is at a time.
func resourceLine(at time.Time, a *permit.ResourceAccount) string {
	return at.Local().Format(time.TimeOnly) + "  " + styleOfResource(a).Render(clean(a.Resource)) + resourceState(a)
}

// resourceState is what resourceLine says of the resource without what changes by itself.
func resourceState(a *permit.ResourceAccount) string {
	text := fmt.Sprintf("  limit %d, charge %d, held %d, want %d, sessions %d", a.Limit, a.Charge, a.Held, a.Want, a.Sessions)
	if a.Unknown > 0 {
		text += fmt.Sprintf(", unknown %d", a.Unknown)
	}
	return text + "; " + clean(bindingText(a))
}
