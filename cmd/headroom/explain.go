package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

func newExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain [RESOURCE]",
		Short: "Say why one has as many permits of a resource, and not more",
		Long: `Say what binds the limit of a resource (host when none is named), what one's
share of it is and why it is no greater, who is served before, and how long the
wait for one more permit is likely to be. All sessions of one's identity count
together, unless --session names one that "headroom permits" shows.`,
		Example: examples(
			"headroom explain",
			"headroom explain billing-api --session 0123456789abcdef",
		),
		Args: takes(cobra.MaximumNArgs(1)),
	}
	flags, asJSON := addServerFlags(cmd), addOutputFlag(cmd)
	session := cmd.Flags().String("session", "", "session to explain; of another identity for observers only")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		resource := server.HostResource
		if len(args) > 0 {
			resource = args[0]
		}
		whose := "you"
		if *session != "" {
			whose = "the session"
		}
		var sessions []*headroomv1.SessionAccount
		return call(cmd.Context(), flags, cmd.OutOrStdout(), asJSON(),
			func(ctx context.Context, api headroomv1.PermitServiceClient) (*headroomv1.ExplainResponse, error) {
				answer, err := api.Explain(ctx, &headroomv1.ExplainRequest{Resource: resource, Session: *session})
				if err == nil && !asJSON() {
					// Without the list there are no names, which is no reason to say nothing.
					if list, err := (&permitsCommand{resource: resource}).list(ctx, api); err == nil {
						sessions = list.GetSessions()
					}
				}
				return answer, err
			},
			func(answer *headroomv1.ExplainResponse) string {
				e := wire.ExplanationFrom(answer)
				return strings.Join(explainLines(&e, whose, holders(sessions)), "\n") + "\n"
			})
	}
	return cmd
}

// maxHolders bounds the sessions that are named.
const maxHolders = 5

// holders names the sessions that are charged most, of those that the caller may see.
func holders(sessions []*headroomv1.SessionAccount) string {
	type holder struct {
		charge int64
		text   string
	}
	var all []holder
	for _, message := range sessions {
		s := wire.SessionAccountFrom(message)
		var charge int64
		for i := range s.Shares {
			charge += s.Shares[i].Charge
		}
		if charge > 0 {
			text := fmt.Sprintf("%d by %s (%s", charge, clean(s.Client), clean(s.Party.Identity))
			if s.Party.PID > 0 {
				text += fmt.Sprintf(", process %d", s.Party.PID)
			}
			all = append(all, holder{charge, text + ")"})
		}
	}
	slices.SortStableFunc(all, func(a, b holder) int { return cmp.Compare(b.charge, a.charge) })
	var texts []string
	for _, one := range all[:min(len(all), maxHolders)] {
		texts = append(texts, one.text)
	}
	if more := len(all) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("the rest by %d others", more))
	}
	return strings.Join(texts, ", ")
}

// explainLines explains in sentences. whose is "you", or another that the share belongs to.
func explainLines(e *permit.Explanation, whose, holders string) []string {
	a, s := &e.Account, &e.Share
	has, wants := "have", "want"
	if whose != "you" {
		has, wants = "has", "wants"
	}
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }

	inUse := fmt.Sprintf("%d in use", a.Charge+a.Unknown)
	if a.Unknown > 0 {
		inUse += fmt.Sprintf(", %d of these perhaps by workers of the server's earlier life", a.Unknown)
	}
	add("The limit of %s is %d (law %s): %s, %d wanted by all.", clean(a.Resource), a.Limit, clean(a.Law), inUse, a.Want)
	if a.Binding != "" || a.Mode != permit.ModeNormal {
		add("What binds it: %s.", sentence(bindingText(a)))
	}
	if holders != "" {
		add("In use: %s.", holders)
	}
	add("%s %s %d, may hold %d and %s %d.", capital(whose), has, s.Held, s.Target, wants, s.Want)
	for _, reason := range e.Reasons {
		if reason != a.Binding {
			add("Why: %s.", sentence(reason))
		}
	}
	if s.Guarantee > 0 {
		add("%d are guaranteed.", s.Guarantee)
	}
	if s.Want > s.Target {
		ahead := fmt.Sprintf("%d that others wait for come first", e.QueueAhead)
		if e.QueueAhead == 0 {
			ahead = "Nobody else comes first"
		}
		wait := "how long one more takes cannot be told, as none has ended yet"
		if e.HasWait {
			wait = "one more takes about " + humanDuration(e.Wait)
		}
		add("%s; %s.", ahead, wait)
	}
	return lines
}

// sentence is a text of the server's without what would double the end of a sentence.
func sentence(text string) string { return strings.TrimRight(clean(text), ". ") }

func capital(word string) string { return strings.ToUpper(word[:1]) + word[1:] }
