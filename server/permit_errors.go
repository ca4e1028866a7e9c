package server

import (
	"errors"
	"fmt"
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
		return refuse(reasonNoResource, fmt.Sprintf("there is no resource %q", resource.name), resourceInfo("Resource", resource.name))
	case errors.As(err, &resource):
		return refuse(reasonNotAllowed, fmt.Sprintf("%s may not lease %q", resource.identity, resource.name))
	case errors.As(err, &quota):
		return refuse(reasonNotAllowed, quota.Error())
	case errors.Is(err, permit.ErrNotOwner):
		return refuse(reasonNotOwned, "the session belongs to another identity")
	case errors.As(err, &sessions):
		return refuse(reasonSessions, sessionsText(sessions), retryAfter(5*time.Second))
	case errors.As(err, &session):
		return refuse(reasonNoSession, fmt.Sprintf("there is no session %q that the caller may see", session.name),
			resourceInfo("Session", session.name))
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

func resourceInfo(kind, name string) *errdetails.ResourceInfo {
	return &errdetails.ResourceInfo{ResourceType: "headroom.v1." + kind, ResourceName: name}
}
