package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// follow shows the permits every interval until ctx is done or to go on is in vain.
func (p *permitsCommand) follow(ctx context.Context, api headroomv1.PermitServiceClient) error {
	show := p.showChanges()
	switch {
	case p.asJSON():
		show = func(list *headroomv1.ListSessionsResponse) error { return printJSON(p.stdout, list) }
	case onTerminal(p.stdout) && os.Getenv("TERM") != "dumb":
		show = p.redraw()
	}
	tick := time.NewTicker(p.interval)
	defer tick.Stop()
	heard, silent := time.Now(), false
	for {
		calling, cancel := context.WithTimeout(ctx, p.server.timeout)
		list, err := p.list(calling, api)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			heard, silent = time.Now(), false
			if err := show(list); err != nil {
				return err
			}
		case callExit(err) != exitUnknown:
			return callError(err)
		case !silent:
			silent = true
			fmt.Fprintln(p.stderr, "headroom:", staleLine(client.State{Received: heard, Cause: err}, time.Now()))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// callExit returns the exit code that stands for the error of a call.
func callExit(err error) int {
	code := exitUnknown
	if exit, ok := callError(err).(*exitError); ok {
		code = exit.code
	}
	return code
}

// showChanges returns a function that prints a line for each resource that changed.
func (p *permitsCommand) showChanges() func(*headroomv1.ListSessionsResponse) error {
	last := map[string]string{}
	w := coloured(p.stdout)
	return func(list *headroomv1.ListSessionsResponse) error {
		for _, message := range list.GetResources() {
			a := wire.ResourceAccountFrom(message)
			state := resourceState(&a)
			if last[a.Resource] == state {
				continue
			}
			last[a.Resource] = state
			if _, err := fmt.Fprintln(w, resourceLine(time.Now(), &a)); err != nil {
				return err
			}
		}
		return nil
	}
}

// redraw returns a function that shows the tables in place of those before, as far as the terminal has room.
func (p *permitsCommand) redraw() func(*headroomv1.ListSessionsResponse) error {
	return func(list *headroomv1.ListSessionsResponse) error {
		height := 0
		if f, ok := p.stdout.(*os.File); ok {
			_, height, _ = term.GetSize(int(f.Fd())) // 0 where it cannot be told
		}
		var text strings.Builder
		body := time.Now().Local().Format(time.DateTime) + "\n\n" + permitsText(list)
		if _, err := io.WriteString(colouredFor(p.stdout, &text), firstLines(body, height)); err != nil {
			return err
		}
		const home, clearBelow, clearLine = "\x1b[H", "\x1b[J", "\x1b[K\n"
		_, err := io.WriteString(p.stdout, home+strings.ReplaceAll(text.String(), "\n", clearLine)+clearBelow)
		return err
	}
}

// firstLines cuts a text to the lines of a screen, and says how many are left out. A height of 0 is not known.
func firstLines(text string, height int) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	if height < 3 || len(lines) < height {
		return text
	}
	kept := height - 2
	return strings.Join(lines[:kept], "") + fmt.Sprintf("... %d lines more\n", len(lines)-kept)
}
