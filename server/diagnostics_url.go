package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/diagnostics"
)

// artifactPath is where signed URLs begin; the ID follows.
const artifactPath = "/artifacts/"

// A grant is what a signed URL permits: to read one artifact, in one form, until a time.
type grant struct {
	artifact string
	form     string // of artifactForms
	audience string // the identity that asked for it, for the log
	expires  int64  // seconds of the wall clock
	key      string // names the key
}

// urlSigner signs and checks URLs. Its keys live in this process only, so a restart ends all URLs. It is safe for
// concurrent use.
type urlSigner struct {
	ttl time.Duration
	now func() time.Time

	mu   sync.Mutex
	keys []urlKey // the newest first; at most two
}

type urlKey struct {
	name   string
	secret [32]byte
	made   time.Time
}

// keyAge is how old a key is when it is replaced. The one before is good for as long again, which is the longest
// that a URL may be.
const keyAge = time.Hour

func newURLSigner(ttl time.Duration) *urlSigner { return &urlSigner{ttl: ttl, now: time.Now} }

// key returns the key to sign with.
func (s *urlSigner) key() urlKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if len(s.keys) > 0 && now.Sub(s.keys[0].made) < keyAge {
		return s.keys[0]
	}
	k := urlKey{name: rand.Text()[:8], made: now}
	_, _ = rand.Read(k.secret[:]) // never fails; it ends the program instead
	s.keys = append([]urlKey{k}, s.keys[:min(len(s.keys), 1)]...)
	return k
}

// find returns the key of that name, if it is still good.
func (s *urlSigner) find(name string) (urlKey, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.name == name && s.now().Sub(k.made) < 2*keyAge {
			return k, true
		}
	}
	return urlKey{}, false
}

// sign returns the path and query of a URL for the artifact, which is good for the signer's time and never longer
// than the artifact is kept.
func (s *urlSigner) sign(a *diagnostics.Artifact, form, audience string) string {
	k := s.key()
	expires := s.now().Add(s.ttl)
	if !a.Pinned && a.Expire.Before(expires) {
		expires = a.Expire
	}
	g := grant{a.ID, form, audience, expires.Unix(), k.name}
	return artifactPath + g.artifact + "?" + g.query(&k)
}

// mac returns the signature over all fields, each after its length, so that no two grants have the same text.
func (g *grant) mac(k *urlKey) []byte {
	h := hmac.New(sha256.New, k.secret[:])
	for _, field := range []string{"GET", g.artifact, g.form, g.audience, strconv.FormatInt(g.expires, 10), g.key} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(field)))
		h.Write(length[:])
		h.Write([]byte(field))
	}
	return h.Sum(nil)
}

// query returns the one way in which the grant is written.
func (g *grant) query(k *urlKey) string {
	return "audience=" + url.QueryEscape(g.audience) + "&expires=" + strconv.FormatInt(g.expires, 10) +
		"&form=" + url.QueryEscape(g.form) + "&key=" + url.QueryEscape(g.key) + "&signature=" + hex.EncodeToString(g.mac(k))
}

// maxSignedQuery bounds the query of a signed URL; an audience is at most 320 bytes, escaped three times that.
const maxSignedQuery = 2 << 10

// check returns what the URL permits now. It looks at the URL as it came: what is written in another way than the
// server writes it is not good, whatever it would mean.
func (s *urlSigner) check(u *url.URL) (grant, bool) {
	id, ok := strings.CutPrefix(u.EscapedPath(), artifactPath)
	if !ok || !diagnostics.ValidID(id) || len(u.RawQuery) > maxSignedQuery {
		return grant{}, false
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return grant{}, false
	}
	expires, err := strconv.ParseInt(values.Get("expires"), 10, 64)
	if err != nil {
		return grant{}, false
	}
	g := grant{id, values.Get("form"), values.Get("audience"), expires, values.Get("key")}
	k, ok := s.find(g.key)
	if !ok || !hmac.Equal([]byte(u.RawQuery), []byte(g.query(&k))) { // in constant time
		return grant{}, false
	}
	now := s.now()
	if until := time.Unix(g.expires, 0); now.After(until) || until.After(now.Add(s.ttl)) {
		return grant{}, false
	}
	return g, true
}
