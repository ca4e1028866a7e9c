package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// permitsCommand is `headroom permits` with its flags.
type permitsCommand struct {
	server   *serverFlags
	asJSON   func() bool
	watch    bool
	interval time.Duration
	resource string // "" for all
	stdout   io.Writer
	stderr   io.Writer
}

func newPermits() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "permits [RESOURCE]",
		Short: "Show who holds which permits, who waits, and what binds",
		Long: `Show the resources with their limits, and the sessions that have or want some of
them: all for an observer, else those of one's own identity. CHARGE is what the
server must assume to be in use, HELD what was reported, UNKNOWN what workers of
the server's earlier life may hold. TARGET is how many a session may hold now,
WANT how many it could use.

--watch shows it anew every --interval, over restarts of the server: on a
terminal in place, else one line for each resource that changed. With -o json,
one ListSessionsResponse of the API a line.`,
		Example: examples(
			"headroom permits --watch",
			"headroom permits billing-api -o json",
		),
		Args: takes(cobra.MaximumNArgs(1)),
	}
	p := &permitsCommand{server: addServerFlags(cmd), asJSON: addOutputFlag(cmd), interval: time.Second}
	addFlag(cmd, switchSetting("watch", &p.watch, "show it again and again, until Ctrl-C"), "")
	addFlag(cmd, durationSetting("interval", &p.interval, 100*time.Millisecond, time.Hour, "time between two, with --watch"), "i")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !p.watch && cmd.Flags().Changed("interval") {
			return usageError(cmd, errors.New("--interval goes with --watch"))
		}
		p.stdout, p.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
		if len(args) > 0 {
			p.resource = args[0]
		}
		return p.run(cmd.Context())
	}
	cmd.AddCommand(newKick(), newLimit())
	return cmd
}

func (p *permitsCommand) run(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, p.server.timeout)
	defer cancel()
	c, err := p.server.dial(dialing)
	if err != nil {
		return err
	}
	defer c.Close()
	api := headroomv1.NewPermitServiceClient(c.Conn())
	if p.watch {
		return p.follow(ctx, api)
	}
	list, err := p.list(dialing, api)
	switch {
	case err != nil:
		return callError(err)
	case p.asJSON():
		return printJSON(p.stdout, list)
	default:
		_, err := io.WriteString(coloured(p.stdout), permitsText(list))
		return err
	}
}

// list returns the resources and all sessions.
func (p *permitsCommand) list(ctx context.Context, api headroomv1.PermitServiceClient) (*headroomv1.ListSessionsResponse, error) {
	req := &headroomv1.ListSessionsRequest{Resource: p.resource}
	all, err := api.ListSessions(ctx, req)
	if err != nil {
		return nil, err
	}
	for all.GetNextPageToken() != "" && all.GetNextPageToken() != req.GetPageToken() {
		req.PageToken = all.GetNextPageToken()
		page, err := api.ListSessions(ctx, req)
		if err != nil {
			return nil, err
		}
		all.Sessions = append(all.Sessions, page.GetSessions()...)
		all.NextPageToken = page.GetNextPageToken()
	}
	all.NextPageToken = ""
	return all, nil
}

// call makes one call and prints its answer: as JSON, or as lines of text.
func call[T proto.Message](ctx context.Context, f *serverFlags, w io.Writer, asJSON bool,
	ask func(context.Context, headroomv1.PermitServiceClient) (T, error), text func(T) string) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	c, err := f.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := ask(ctx, headroomv1.NewPermitServiceClient(c.Conn()))
	if err != nil {
		return callError(err)
	}
	if asJSON {
		return printJSON(w, answer)
	}
	_, err = io.WriteString(coloured(w), text(answer))
	return err
}

func newKick() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kick SESSION",
		Short: "End the session of a worker",
		Long: `End the session of a worker. It gets no more permits and is told so; what it
holds counts as in use until it is known to have stopped, or its lease is over.
The worker may attach anew. SESSION is one that "headroom permits" shows.`,
		Example: examples(
			"headroom permits kick 0123456789abcdef",
			`headroom permits kick 0123456789abcdef --reason "runs wild"`,
		),
		Args: takes(cobra.ExactArgs(1)),
	}
	server, asJSON := addServerFlags(cmd), addOutputFlag(cmd)
	reason := cmd.Flags().String("reason", "", "what the worker and the log are told; at most 256 characters")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return call(cmd.Context(), server, cmd.OutOrStdout(), asJSON(),
			func(ctx context.Context, api headroomv1.PermitServiceClient) (*headroomv1.KickSessionResponse, error) {
				return api.KickSession(ctx, &headroomv1.KickSessionRequest{Session: args[0], Reason: *reason})
			},
			func(answer *headroomv1.KickSessionResponse) string {
				s := wire.SessionAccountFrom(answer.GetSession())
				held := int64(0)
				for i := range s.Shares {
					held += s.Shares[i].Charge
				}
				return fmt.Sprintf("%s (%s, %s) is ended; %d permits count as in use until it has stopped\n",
					clean(s.Name), clean(s.Client), clean(s.Party.Identity), held)
			})
	}
	return cmd
}

func newLimit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "limit RESOURCE N",
		Short: "Set the limit of a resource until the server ends",
		Long: `Set the limit of a resource until the server ends. A lower one takes nothing
from anybody: new work starts when enough has ended. The limit of host can be
set where it is fixed, and not where it follows the load.`,
		Example: examples(
			"headroom permits limit billing-api 4",
			"headroom permits limit billing-api 0    # nothing more begins",
		),
		Args: takes(cobra.ExactArgs(2)),
	}
	server, asJSON := addServerFlags(cmd), addOutputFlag(cmd)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var n int64
		s := countSetting("", &n, 0, permit.MaxLimit, "")
		if err := s.value.Set(args[1]); err != nil {
			return usageError(cmd, fmt.Errorf("%s: %s", quoteOdd(args[1]), want(s.accepts, err)))
		}
		return call(cmd.Context(), server, cmd.OutOrStdout(), asJSON(),
			func(ctx context.Context, api headroomv1.PermitServiceClient) (*headroomv1.SetLimitResponse, error) {
				return api.SetLimit(ctx, &headroomv1.SetLimitRequest{Resource: args[0], Limit: n})
			},
			func(answer *headroomv1.SetLimitResponse) string {
				a := wire.ResourceAccountFrom(answer.GetAccount())
				return fmt.Sprintf("%s: limit %d, before %d; %d in use\n",
					clean(a.Resource), a.Limit, answer.GetPreviousLimit(), a.Charge+a.Unknown)
			})
	}
	return cmd
}
