package server

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/headroom-rpc/headroom/diagnostics"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// artifactForms are the forms of an artifact, as a query names them.
var artifactForms = map[string]headroomv1.ArtifactForm{
	"":     headroomv1.ArtifactForm_ARTIFACT_FORM_UNSPECIFIED,
	"json": headroomv1.ArtifactForm_ARTIFACT_FORM_JSON,
	"svg":  headroomv1.ArtifactForm_ARTIFACT_FORM_SVG,
}

// leastRate is how slowly, in bytes a second, an artifact may be read over HTTP.
const leastRate = 64 << 10

// handleArtifacts adds the paths of artifacts to mux.
func (s *diagnosticsService) handleArtifacts(mux *http.ServeMux, access *accessTable) {
	mux.HandleFunc("GET /tasks/{task}/profile_artifacts/{$}", func(w http.ResponseWriter, r *http.Request) {
		s.serveURLs(w, r, access)
	})
	mux.HandleFunc("GET "+artifactPath, s.serveArtifact)
}

// serveURLs answers {"urls": {name: url}} with a signed URL for each artifact of the task that the token may see.
func (s *diagnosticsService) serveURLs(w http.ResponseWriter, r *http.Request, access *accessTable) {
	identity, refusal := tokenIdentity(r, access)
	if refusal != "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		answer(w, http.StatusUnauthorized, refusal)
		return
	}
	if identity.Role < RoleWorker {
		answer(w, http.StatusForbidden, "the token needs role worker")
		return
	}
	form := r.URL.Query().Get("form")
	if _, ok := artifactForms[form]; !ok {
		answer(w, http.StatusBadRequest, "form: want json, svg or none")
		return
	}
	store := s.store.Load()
	if store == nil {
		s.answerOff(w)
		return
	}
	q := diagnostics.Query{Task: r.PathValue("task")}
	if identity.Role < RoleOperator {
		q.Owner = identity.Name
	}
	urls := make(map[string]string)
	if q.Task != "" {
		for name, a := range newestByName(store.List(q, "", math.MaxInt), form) {
			urls[name] = "http://" + r.Host + s.signer.sign(&a, form, identity.Name)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)                     // URLs are read by people too
	_ = encoder.Encode(map[string]any{"urls": urls}) // the reader may be gone
}

// newestByName returns the newest artifact of each name that is sealed and can be had in the form. Where its recording
// left several parts, all of them are there too, as name#part, which is no name of an artifact.
func newestByName(all []diagnostics.Artifact, form string) map[string]diagnostics.Artifact {
	all = slices.DeleteFunc(all, func(a diagnostics.Artifact) bool {
		return !a.Sealed || form != "" && a.Recorder != diagnostics.RecorderMemory
	})
	newest := make(map[string]diagnostics.Artifact)
	for _, a := range all {
		if was, ok := newest[a.Name]; !ok || a.End.After(was.End) {
			newest[a.Name] = a
		}
	}
	named := maps.Clone(newest)
	for _, a := range all {
		if n := newest[a.Name]; n.Run != "" && a.Run == n.Run && n.Part > 0 {
			named[fmt.Sprintf("%s#%d", a.Name, a.Part)] = a
		}
	}
	return named
}

func (s *diagnosticsService) answerOff(w http.ResponseWriter) {
	if !s.config.on() {
		answer(w, http.StatusNotFound, "diagnostics are off")
		return
	}
	answer(w, http.StatusServiceUnavailable, "the server is starting")
}

// tokenIdentity returns who sent the request, by its token, or why that is not known.
func tokenIdentity(r *http.Request, access *accessTable) (id Identity, refusal string) {
	info := &authInfo{identity: Identity{Name: anonymous, Role: RoleNone, UID: -1, PID: -1}, private: fromLoopback(r)}
	values := r.Header.Values(authorization)
	if len(values) == 0 {
		return id, "a bearer token is needed"
	}
	id, _, err := access.identify(info, map[string][]string{authorization: values})
	if err != nil {
		return id, err.Error()
	}
	return id, ""
}

func fromLoopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// serveArtifact answers with the content that a signed URL permits. The signature is looked at before anything else,
// and whatever is wrong with it gets the same answer.
func (s *diagnosticsService) serveArtifact(w http.ResponseWriter, r *http.Request) {
	g, ok := s.signer.check(r.URL)
	if !ok {
		answer(w, http.StatusForbidden, "the URL is not signed by this server, or has expired: ask for a new one")
		return
	}
	store := s.store.Load()
	if store == nil {
		s.answerOff(w)
		return
	}
	exit, err := s.transfers.enter(Identity{Name: g.audience, Role: RoleWorker})
	if err != nil {
		w.Header().Set("Retry-After", "5")
		answer(w, http.StatusTooManyRequests, err.Error())
		return
	}
	defer exit()
	c, a, err := openContent(store, g.artifact, artifactForms[g.form])
	if err != nil {
		s.log.Info("an artifact cannot be read", "artifact", g.artifact, "error", err.Error())
		answer(w, http.StatusNotFound, "the artifact is not there, or not in that form")
		return
	}
	defer c.close()
	s.log.LogAttrs(r.Context(), slog.LevelInfo, "artifact read by URL",
		slog.String("artifact", a.ID), slog.String("audience", g.audience), slog.String("address", r.RemoteAddr))
	// The content is a worker's: no browser is to show it as a page of this server.
	w.Header().Set("Content-Type", c.mediaType)
	w.Header().Set("Content-Disposition", `attachment; filename="`+strings.ReplaceAll(c.fileName, `"`, "")+`"`)
	w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
	if g.form == "" {
		w.Header().Set("ETag", `"`+a.SHA256.String()+`"`)
	}
	patience := 10*time.Second + time.Duration(c.size/leastRate)*time.Second
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience)) // else that of all requests holds
	http.ServeContent(w, r, "", a.End, io.NewSectionReader(c, 0, c.size))
}
