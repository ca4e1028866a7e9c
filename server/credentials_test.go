package server

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/test/bufconn"
)

func TestRolesHaveNames(t *testing.T) {
	for _, name := range []string{"none", "reader", "worker", "observer", "operator"} {
		role, err := ParseRole(name)
		if err != nil || role.String() != name {
			t.Errorf("ParseRole(%q) = %v, %v", name, role, err)
		}
	}
	for _, name := range []string{"", "Reader", "root", "Role(0)"} {
		if _, err := ParseRole(name); err == nil || !strings.Contains(err.Error(), "observer") {
			t.Errorf("ParseRole(%q) = %v, want an error that lists the roles", name, err)
		}
	}
}

func TestProcessIdentity(t *testing.T) {
	const own, workers = 1000, 4242
	for _, tt := range []struct {
		name    string
		peer    peerProcess
		workers int
		want    Role
		hint    string
	}{
		{"own user", peerProcess{uid: own, gid: 5}, workers, RoleOperator, ""},
		{"root", peerProcess{uid: 0}, workers, RoleOperator, ""},
		{"member", peerProcess{uid: 7, gid: 5, groups: []int{1, workers}}, workers, RoleWorker, "uid 1000"},
		{"primary group", peerProcess{uid: 7, gid: workers}, workers, RoleWorker, "uid 1000"},
		{"other", peerProcess{uid: 7, gid: 5, groups: []int{1}}, workers, RoleNone, "add the user to group headroom"},
		{"no such group", peerProcess{uid: 7, gid: -1}, -1, RoleNone, "create group headroom"},
		{"unmapped", peerProcess{uid: 65534, gid: workers, unmapped: true}, workers, RoleNone, "namespace"},
	} {
		id, hint := processIdentity(tt.peer, own, tt.workers)
		if id.Role != tt.want || !id.Local || id.UID != tt.peer.uid {
			t.Errorf("%s: identity %+v, want role %v", tt.name, id, tt.want)
		}
		if !strings.Contains(hint, tt.hint) {
			t.Errorf("%s: hint %q does not hold %q", tt.name, hint, tt.hint)
		}
	}
	if id, _ := processIdentity(peerProcess{uid: 65534, unmapped: true}, 65534, -1); id.Role != RoleNone {
		t.Errorf("an unmapped user of a server that runs as nobody has role %v, want none", id.Role)
	}
}

func TestCertName(t *testing.T) {
	for _, tt := range []struct {
		name string
		uris []string
		cn   string
		want string
	}{
		{"URI first", []string{"spiffe://a/w", "spiffe://a/x"}, "w", "spiffe://a/w"},
		{"subject", nil, "worker-1", "CN=worker-1"},
		{"a subject is never a URI", nil, "spiffe://a/operator", "CN=spiffe://a/operator"},
		{"none", nil, "", ""},
		{"control characters", nil, "a\nb", ""},
		{"text direction", nil, "a\u202eb", ""},
		{"too long", nil, strings.Repeat("x", maxCertName), ""},
	} {
		cert := &x509.Certificate{Subject: pkix.Name{CommonName: tt.cn}}
		for _, u := range tt.uris {
			cert.URIs = append(cert.URIs, mustURL(t, u))
		}
		if got := certName(cert); got != tt.want {
			t.Errorf("%s: certName = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestLoadTokens(t *testing.T) {
	dir := t.TempDir()
	path := writeFile(t, dir, "tokens", []byte("# robots\n\nci reader 0123456789abcdef\n\tnightly\tworker  fedcba9876543210\r\n"))
	tokens, err := LoadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []Token{testToken("ci", RoleReader, "0123456789abcdef"), testToken("nightly", RoleWorker, "fedcba9876543210")}
	if len(tokens) != 2 || tokens[0] != want[0] || tokens[1] != want[1] {
		t.Errorf("LoadTokens = %v, want %v", tokens, want)
	}
}

func TestLoadTokensReportsAllFaultsWithoutSecrets(t *testing.T) {
	const secret = "hunter2hunter2hunter2"
	path := writeFile(t, t.TempDir(), "tokens", []byte(strings.Join([]string{
		"ci reader " + secret,
		"ci worker another-0123456789",
		"two worker " + secret,
		secret + "/+ reader",
		"three god 0123456789abcdef-3",
		secret + "/+ reader 0123456789abcdef-4",
		"four worker short",
	}, "\n")))
	_, err := LoadTokens(path)
	if err == nil {
		t.Fatal("LoadTokens = nil, want an error")
	}
	for _, want := range []string{path, "line 2: the name stands on line 1", "line 3: the token stands on line 1",
		"line 4: 2 fields", "line 5: the role", "line 6: the name", "line 7: the token"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not hold %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("error holds a secret:\n%v", err)
	}
}

func TestLoadTokensWantsAPrivateFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no mode here")
	}
	dir := t.TempDir()
	path := writeFile(t, dir, "tokens", []byte("ci reader 0123456789abcdef\n"))
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o666} {
		os.Chmod(path, mode)
		if _, err := LoadTokens(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: LoadTokens = %v, want an error that says chmod 600", mode, err)
		}
	}
	if _, err := LoadTokens(dir); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a directory: LoadTokens = %v, want an error", err)
	}
	large := writeFile(t, dir, "large", []byte(strings.Repeat("#\n", maxTokenFileBytes/2+1)))
	if _, err := LoadTokens(large); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a large file: LoadTokens = %v, want an error", err)
	}
	if _, err := LoadTokens(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing file: LoadTokens = nil, want an error")
	}
}

const (
	ciToken    = "correct-horse-battery"
	otherToken = "staple-horse-battery-"
)

func TestLoopbackCallers(t *testing.T) {
	access := Access{Tokens: []Token{testToken("ci", RoleWorker, ciToken), testToken("root", RoleOperator, otherToken)}}
	log := &lines{}
	cc := startProbe(t, listenLoopback(t), probeConfig{access: access, log: log.logger()}).dial(t)

	if got, err := whoami(t, cc); got != "loopback (reader)" || err != nil {
		t.Errorf("without credentials: %q, %v", got, err)
	}
	err := report(t, cc)
	if got, want := reasonOf(err), "PermissionDenied ROLE_REQUIRED"; got != want {
		t.Errorf("ReportLoad without credentials = %s, want %s", got, want)
	}
	if !strings.Contains(err.Error(), "role worker") || !strings.Contains(err.Error(), "--loopback-role") {
		t.Errorf("the refusal %q says neither the role nor how to get it", err)
	}
	if got, err := whoami(t, cc, "authorization", "Bearer "+ciToken); got != "token:ci (worker)" || err != nil {
		t.Errorf("with a token: %q, %v", got, err)
	}
	if err := report(t, cc, "authorization", "bearer "+ciToken); err != nil {
		t.Errorf("ReportLoad with a token = %v, want nil", err)
	}
	for name, headers := range map[string][]string{
		"wrong token":  {"authorization", "Bearer " + ciToken + "x"},
		"empty":        {"authorization", ""},
		"other scheme": {"authorization", "Basic " + ciToken},
		"two headers":  {"authorization", "Bearer " + ciToken, "authorization", "Bearer " + otherToken},
	} {
		if _, err := whoami(t, cc, headers...); reasonOf(err) != "Unauthenticated TOKEN_INVALID" {
			t.Errorf("%s: %s, want Unauthenticated TOKEN_INVALID", name, reasonOf(err))
		}
	}
	if strings.Contains(log.String(), ciToken) || strings.Contains(log.String(), otherToken) {
		t.Errorf("the log holds a token:\n%s", log)
	}
}

func TestLoopbackRoleCanBeChanged(t *testing.T) {
	cc := startProbe(t, listenLoopback(t), probeConfig{access: Access{LoopbackRole: RoleNone}}).dial(t)
	if _, err := whoami(t, cc); reasonOf(err) != "PermissionDenied ROLE_REQUIRED" {
		t.Errorf("with role none: %s, want PermissionDenied", reasonOf(err))
	}
	if err := checkHealth(t, cc); reasonOf(err) != "PermissionDenied ROLE_REQUIRED" {
		t.Errorf("health with role none: %s, want PermissionDenied", reasonOf(err))
	}
	cc = startProbe(t, listenLoopback(t), probeConfig{access: Access{LoopbackRole: RoleWorker}}).dial(t)
	if err := report(t, cc); err != nil {
		t.Errorf("with role worker: %v, want nil", err)
	}
}

func TestFarPlaintextCallersMayNothing(t *testing.T) {
	access := Access{Tokens: []Token{testToken("ci", RoleWorker, ciToken)}}
	cc := startProbe(t, listenFrom(t, "192.0.2.7", nil), probeConfig{access: access}).dial(t)
	_, err := whoami(t, cc)
	if got, want := reasonOf(err), "Unauthenticated CREDENTIALS_REQUIRED"; got != want || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("without credentials: %v (%s), want %s and a text that says TLS", err, got, want)
	}
	if _, err := whoami(t, cc, "authorization", "Bearer "+ciToken); reasonOf(err) != "Unauthenticated TOKEN_OVER_PLAINTEXT" {
		t.Errorf("with a token: %s, want Unauthenticated TOKEN_OVER_PLAINTEXT", reasonOf(err))
	}
}

func TestTLSCallers(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t)
	certPEM, keyPEM := a.serverCert()
	cert, key, ca := writeFile(t, dir, "cert", certPEM), writeFile(t, dir, "key", keyPEM), writeFile(t, dir, "ca", a.pem())
	access := Access{
		Tokens:    []Token{testToken("ci", RoleWorker, ciToken)},
		CertRoles: map[string]Role{"spiffe://example.org/ops": RoleOperator, "CN=banned": RoleNone},
	}

	config, err := LoadTLS(cert, key, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	open := startProbe(t, listenFrom(t, "192.0.2.7", config), probeConfig{access: access})
	cc := open.dial(t, a.client(nil))
	if _, err := whoami(t, cc); reasonOf(err) != "Unauthenticated CREDENTIALS_REQUIRED" || !strings.Contains(err.Error(), "token") {
		t.Errorf("TLS alone: %v, want Unauthenticated CREDENTIALS_REQUIRED and a text that names a token", err)
	}
	if got, err := whoami(t, cc, "authorization", "Bearer "+ciToken); got != "token:ci (worker)" || err != nil {
		t.Errorf("TLS and a token: %q, %v", got, err)
	}
	if err := checkHealth(t, open.dial(t)); err == nil {
		t.Error("plaintext to a TLS listener was served")
	}

	if config, err = LoadTLS(cert, key, ca, nil); err != nil {
		t.Fatal(err)
	}
	mutual := startProbe(t, listenFrom(t, "192.0.2.7", config), probeConfig{access: access})
	for _, tt := range []struct {
		name string
		cert x509.Certificate
		want string // identity, or the reason of the refusal
	}{
		{"mapped URI", x509.Certificate{URIs: []*url.URL{mustURL(t, "spiffe://example.org/ops")}}, "cert:spiffe://example.org/ops (operator)"},
		{"other URI", x509.Certificate{URIs: []*url.URL{mustURL(t, "spiffe://example.org/w")}}, "cert:spiffe://example.org/w (worker)"},
		{"subject", x509.Certificate{Subject: pkix.Name{CommonName: "w1"}}, "cert:CN=w1 (worker)"},
		{"subject like a mapped URI", x509.Certificate{Subject: pkix.Name{CommonName: "spiffe://example.org/ops"}},
			"cert:CN=spiffe://example.org/ops (worker)"},
		{"banned", x509.Certificate{Subject: pkix.Name{CommonName: "banned"}}, "PermissionDenied ROLE_REQUIRED"},
		{"nameless", x509.Certificate{}, "Unauthenticated CREDENTIALS_REQUIRED"},
	} {
		got, err := whoami(t, mutual.dial(t, a.client(&tt.cert)))
		if err != nil {
			got = reasonOf(err)
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if _, err := whoami(t, mutual.dial(t, a.client(nil))); reasonOf(err) != "Unavailable" {
		t.Errorf("no client certificate: %v, want no connection", err)
	}
	stranger := a.clientOf(newAuthority(t), &x509.Certificate{Subject: pkix.Name{CommonName: "w1"}})
	if _, err := whoami(t, mutual.dial(t, stranger)); reasonOf(err) != "Unavailable" {
		t.Errorf("a certificate of another authority: %v, want no connection", err)
	}
}

func TestFixedListenerTrustsItsEmbedder(t *testing.T) {
	conns := bufconn.Listen(1 << 16)
	l := NewListener(conns, Identity{Name: "test", Role: RoleObserver, UID: -1, PID: -1})
	cc := startProbe(t, l, probeConfig{}).dial(t, dialBuf(conns))
	got, err := whoami(t, cc, "authorization", "Digest of the embedder")
	if want := "test with its token (observer)"; got != want || err != nil {
		t.Errorf("whoami = %q, %v, want %q", got, err, want)
	}
}

func TestHalfHandshakesEnd(t *testing.T) {
	l := listenLoopback(t)
	p := startProbe(t, l, probeConfig{limits: Limits{HandshakeTimeout: 100 * time.Millisecond}})
	cc := p.dial(t)
	const silent = 200
	for range silent {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if err := checkHealth(t, cc); err != nil {
		t.Errorf("beside %d silent connections: %v, want nil", silent, err)
	}
	eventually(t, "only the honest connection is counted", func() bool { return p.guard.counts().open == 1 })
	if err := checkHealth(t, cc); err != nil {
		t.Errorf("after them: %v, want nil", err)
	}
}
