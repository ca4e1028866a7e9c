package server

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/diagnostics"
)

// signed returns a signer whose clock the test sets, and a URL of it.
func signed(t testing.TB, expire time.Duration) (s *urlSigner, now *time.Time, text string) {
	t.Helper()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now = &at
	s = newURLSigner(5 * time.Minute)
	s.now = func() time.Time { return *now }
	a := &diagnostics.Artifact{ID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Expire: at.Add(expire)}
	return s, now, s.sign(a, "svg", "token:c i&+")
}

func checks(s *urlSigner, text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	_, ok := s.check(u)
	return ok
}

func TestSignedURL(t *testing.T) {
	s, now, text := signed(t, time.Hour)
	begin := *now
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if g, ok := s.check(u); !ok || g.artifact != "ABCDEFGHIJKLMNOPQRSTUVWXYZ" || g.form != "svg" || g.audience != "token:c i&+" {
		t.Fatalf("the URL permits %+v, %v", g, ok)
	}
	for _, step := range []struct {
		after time.Duration
		ok    bool
	}{{5 * time.Minute, true}, {5*time.Minute + time.Second, false}, {-time.Second, false}, {-time.Hour, false}, {0, true}} {
		*now = begin.Add(step.after)
		if got := checks(s, text); got != step.ok {
			t.Errorf("after %v it is good: %v, want %v", step.after, got, step.ok)
		}
	}
	*now = begin
	if other := newURLSigner(5 * time.Minute); checks(other, text) {
		t.Error("another server takes it")
	}
}

func TestSignedURLEndsWithTheArtifact(t *testing.T) {
	s, now, text := signed(t, time.Minute)
	*now = now.Add(time.Minute)
	if !checks(s, text) {
		t.Error("it is not good while the artifact is there")
	}
	*now = now.Add(time.Second)
	if checks(s, text) {
		t.Error("it is good after the artifact expired")
	}
}

func TestURLKeysRotate(t *testing.T) {
	s, now, old := signed(t, 24*time.Hour)
	s.ttl = time.Hour
	*now = now.Add(keyAge - time.Minute)
	a := &diagnostics.Artifact{ID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Expire: now.Add(24 * time.Hour)}
	first := s.sign(a, "", "x")
	*now = now.Add(2 * time.Minute)
	second := s.sign(a, "", "x")
	if len(s.keys) != 2 || !checks(s, first) || !checks(s, second) || checks(s, old) {
		t.Errorf("with %d keys: the first is good %v, the second %v, the old one %v", len(s.keys), checks(s, first), checks(s, second), checks(s, old))
	}
	*now = now.Add(2 * keyAge)
	if s.sign(a, "", "x"); len(s.keys) != 2 || checks(s, first) || checks(s, second) {
		t.Errorf("%d keys are kept, and URLs of ended ones are good", len(s.keys))
	}
}

// Whatever is changed in a URL, it is refused: each byte, and each other way to write the same.
func TestForgedURLs(t *testing.T) {
	s, _, text := signed(t, time.Hour)
	for i := range len(text) {
		for _, c := range []byte{'0', 'A', 'a', '%', '&', '+', '/', '.', text[i] ^ 1, text[i] ^ 0x20} {
			if forged := text[:i] + string(c) + text[i+1:]; c != text[i] && checks(s, forged) {
				t.Errorf("%q is good", forged)
			}
		}
		if checks(s, text[:i]+text[i+1:]) {
			t.Errorf("without byte %d it is good", i)
		}
	}
	path, query, _ := strings.Cut(text, "?")
	signature := query[strings.Index(query, "signature="):]
	for _, forged := range []string{
		text + "&", text + "&expires=99999999999", path + "?" + query + "&" + query, path + "?expires=99999999999&" + query,
		path + "?" + strings.ToUpper(query), strings.Replace(text, "token%3A", "token:", 1), strings.Replace(text, "c+i", "c%20i", 1),
		strings.Replace(text, "/artifacts/A", "/artifacts/%41", 1), strings.Replace(text, "/artifacts/", "/artifacts//", 1),
		strings.Replace(text, "/artifacts/", "/artifacts/../artifacts/", 1), strings.Replace(text, "/artifacts/", "/artifacts%2F", 1),
		strings.Replace(text, signature, "signature=", 1), path + "?" + signature, path, strings.Replace(text, ";", "&", 1) + "#x&",
		strings.Replace(text, "form=svg&", "", 1), strings.Replace(text, "form=svg", "form=json", 1), "/artifacts/?" + query,
		path + "?" + strings.Repeat("a", 4096),
	} {
		if forged != text && !strings.HasSuffix(forged, "#x&") && checks(s, forged) {
			t.Errorf("%q is good", forged)
		}
	}
}

func FuzzSignedURL(f *testing.F) {
	s, _, text := signed(f, time.Hour)
	f.Add(text)
	f.Add(text + "&a=b")
	f.Fuzz(func(t *testing.T, other string) {
		if u, err := url.Parse(other); err == nil && other != text {
			if _, ok := s.check(u); ok && u.EscapedPath()+"?"+u.RawQuery != text {
				t.Errorf("%q is good", other)
			}
		}
	})
}
