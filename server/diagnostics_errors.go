package server

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/headroom-rpc/headroom/diagnostics"
)

// errDiagnosticsOff reports a call to a server that records nothing.
var errDiagnosticsOff = errors.New("server: diagnostics are off")

// artifactError reports an artifact that does not exist, or that the caller may not know of.
type artifactError struct{ id string }

func (e *artifactError) Error() string { return fmt.Sprintf("server: no artifact %q", clip(e.id)) }

// rangeError reports a range that begins after the end of an artifact.
type rangeError struct{ offset, size int64 }

func (e *rangeError) Error() string {
	return fmt.Sprintf("the content has %d bytes, and byte %d on was asked for", e.size, e.offset)
}

// formError reports an artifact that cannot be had in the form.
type formError struct{ name, why string }

func (e *formError) Error() string {
	return fmt.Sprintf("%s cannot be had in that form: %s", e.name, e.why)
}

// recordingsError reports that a bound on recordings or transfers is reached: of those that go on, or with rate of those
// that an identity begins.
type recordingsError struct {
	what, field string
	limit       int
	rate        bool
}

func (e *recordingsError) Error() string {
	if e.rate {
		return fmt.Sprintf("%d %s were begun within a second, which is the most of one identity (%s)", e.limit, e.what, e.field)
	}
	return fmt.Sprintf("%d %s go on, which is the most (%s)", e.limit, e.what, e.field)
}

// profilesError reports that nothing of what was asked for can be recorded now.
type profilesError struct{ refused []diagnostics.Refusal }

func (e *profilesError) Error() string {
	text := "nothing can be recorded now"
	for _, r := range e.refused {
		text += fmt.Sprintf("; %s: %v", clip(r.Name), r.Reason)
	}
	return text
}

// storedError reports an upload of which only the begin was kept.
type storedError struct {
	id  string
	err error
}

func (e *storedError) Error() string { return fmt.Sprintf("artifact %s: %v", e.id, e.err) }
func (e *storedError) Unwrap() error { return e.err }

// recorderError reports a recorder that the configuration does not allow.
type recorderError struct{ name string }

func (e *recorderError) Error() string {
	return fmt.Sprintf("recorder %s is not allowed by the server's configuration", e.name)
}

// diagnosticsStatus returns the status of an error of the diagnostics service, or nil of another.
func diagnosticsStatus(err error) error {
	var (
		artifact   *artifactError
		outside    *rangeError
		form       *formError
		recordings *recordingsError
		profiles   *profilesError
		stored     *storedError
		recorder   *recorderError
	)
	kept := ""
	if errors.As(err, &stored) {
		kept = "; its begin is kept as artifact " + stored.id
	}
	switch {
	case errors.Is(err, errDiagnosticsOff):
		return refuse(reasonDiagnosticsOff, "diagnostics are off: the server's setting diagnostics-allow names no recorder")
	case errors.As(err, &artifact):
		return refuse(reasonNoArtifact, fmt.Sprintf("there is no artifact %q that the caller may see", clip(artifact.id)),
			resourceInfo("Artifact", clip(artifact.id)))
	case errors.As(err, &recorder):
		return refuse(reasonNotAllowed, recorder.Error())
	case errors.As(err, &outside):
		return refuse(reasonRange, outside.Error())
	case errors.As(err, &form):
		return refuse(reasonForm, form.Error(), &errdetails.PreconditionFailure{
			Violations: []*errdetails.PreconditionFailure_Violation{
				{Type: "headroom.v1.Form", Subject: form.name, Description: form.why},
			},
		})
	case errors.Is(err, diagnostics.ErrNotSealed):
		return refuse(reasonNotSealed, "the artifact is still being written: ask again later", retryAfter(time.Second))
	case errors.Is(err, diagnostics.ErrDamaged):
		return refuse(reasonDamaged, "the content of the artifact is not what was stored")
	case errors.As(err, &recordings):
		delay := 5 * time.Second
		if recordings.rate {
			delay = time.Second
		}
		return refuse(reasonRecordings, recordings.Error(), retryAfter(delay))
	case errors.As(err, &profiles):
		return refuse(reasonProfiles, profiles.Error(), retryAfter(10*time.Second))
	case errors.Is(err, diagnostics.ErrTooLarge):
		return refuse(reasonArtifactTooLarge, "the artifact is larger than one may be"+kept)
	case errors.Is(err, diagnostics.ErrFull):
		return refuse(reasonArtifactsFull, "the quota of artifacts is used up by pinned ones and by those that are being "+
			"written"+kept, retryAfter(10*time.Second))
	default:
		return nil
	}
}
