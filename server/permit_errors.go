package server

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/headroom-rpc/headroom/permit"
)

// permitStatus returns the status of an error of the permit service, or nil of another.
func permitStatus(err error) error {
	var (
		resource *resourceError
		quota    *quotaError
		session  *sessionError
		sessions *permit.SessionsError
		silent   *silentError
		kicked   *kickedError
		waiters  *waitersError
		wait     *waitError
		permits  *permitLimitError
		lost     *lostError
		law      *lawError
	)
	switch {
	case errors.As(err, &resource) && resource.identity == "":
		return refuse(reasonNoResource, fmt.Sprintf("there is no resource %q", resource.name)+
			instead(len(resource.known), func(i int) string { return resource.known[i] }),
			resourceInfo("Resource", resource.name))
	case errors.As(err, &resource):
		return refuse(reasonNotAllowed, fmt.Sprintf("%s may not lease %q", resource.identity, resource.name))
	case errors.As(err, &quota):
		return refuse(reasonNotAllowed, quota.Error())
	case errors.Is(err, permit.ErrNotOwner):
		return refuse(reasonNotOwned, "the session belongs to another identity")
	case errors.As(err, &sessions):
		return refuse(reasonSessions, sessionsText(sessions), retryAfter(5*time.Second))
	case errors.As(err, &session):
		return refuse(reasonNoSession, fmt.Sprintf("there is no session %q that the caller may see", session.name)+
			instead(len(session.known), func(i int) string {
				return fmt.Sprintf("%s (%s)", session.known[i].Name, session.known[i].Client)
			}), resourceInfo("Session", session.name))
	case errors.Is(err, permit.ErrNoSession):
		return refuse(reasonNoSession, "the session has ended: attach again")
	case errors.As(err, &silent):
		return refuse(reasonSilent, silent.Error())
	case errors.Is(err, errReplaced):
		return refuse(reasonReplaced, "the worker attached again: this stream is no longer its own")
	case errors.Is(err, errDead):
		return refuse(reasonDead, "the process that made the connection is dead")
	case errors.As(err, &kicked):
		return refuse(reasonKicked, kicked.Error())
	case errors.As(err, &waiters):
		return refuse(reasonWaiters, waiters.Error(), retryAfter(time.Second))
	case errors.As(err, &wait):
		return refuse(reasonWaitTooLong, wait.Error(), retryAfter(wait.retry()))
	case errors.As(err, &permits):
		return refuse(reasonPermits, permits.Error(), retryAfter(time.Second))
	case errors.As(err, &lost):
		return refuse(reasonPermitLost, "the permit is not, or no longer, held: stop the work under it",
			resourceInfo("Permit", clip(lost.id)))
	case errors.As(err, &law):
		return refuse(reasonFollowsLaw, law.Error(), &errdetails.PreconditionFailure{
			Violations: []*errdetails.PreconditionFailure_Violation{
				{Type: "headroom.v1.Law", Subject: law.resource, Description: law.law},
			},
		})
	default:
		return nil
	}
}

func sessionsText(err *permit.SessionsError) string {
	if err.Identity == "" {
		return fmt.Sprintf("there are %d sessions, as many as the server may have (max-sessions)", err.Most)
	}
	return fmt.Sprintf("%s has %d sessions, as many as one identity may have (max-sessions-per-identity)",
		err.Identity, err.Most)
}

// mostNamed bounds the names that are told in place of a wrong one.
const mostNamed = 16

// instead says which names there are, of n.
func instead(n int, name func(i int) string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "; there is " + name(0)
	}
	shown := min(n-1, mostNamed)
	texts := make([]string, shown)
	for i := range shown {
		texts[i] = name(i)
	}
	last := name(shown)
	if more := n - shown; more > 1 {
		last = fmt.Sprintf("%d more", more)
	}
	return "; there are " + strings.Join(texts, ", ") + " and " + last
}

func resourceInfo(kind, name string) *errdetails.ResourceInfo {
	return &errdetails.ResourceInfo{ResourceType: "headroom.v1." + kind, ResourceName: name}
}
