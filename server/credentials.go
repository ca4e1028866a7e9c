package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc/credentials"
)

// Names of identities that no credential gives.
const (
	anonymous    = "anonymous"
	loopbackName = "loopback"
)

// commonNamePrefix marks a certificate's name that is its subject's common name. Without it, whoever may
// choose a common name could choose one that reads as another's URI.
const commonNamePrefix = "CN="

// authInfo is what is known of a connection once it stands.
type authInfo struct {
	credentials.CommonAuthInfo

	identity Identity
	hint     string // what a caller does to get a greater role
	private  bool   // nobody in between can read a token
	fixed    bool   // the identity is the embedder's; headers do not change it
	conn     *guardedConn
}

// AuthType names the kind of credentials.
func (*authInfo) AuthType() string { return "headroom" }

// handshaker makes an authInfo of each connection of one Listener.
type handshaker struct {
	listener *Listener
	access   *accessTable
}

var errServerOnly = errors.New("server: these credentials are for a server")

func (h *handshaker) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errServerOnly
}

// ServerHandshake identifies the caller. It refuses no connection for who the caller is: each call is
// refused instead, with a text. The server's handshake timeout is on conn already.
func (h *handshaker) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, ok := raw.(*guardedConn)
	if !ok {
		return nil, nil, fmt.Errorf("server: %T did not come from a guarded listener", raw)
	}
	info := &authInfo{conn: conn, private: true}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	switch h.listener.class {
	case classFixed:
		info.identity, info.fixed = h.listener.identity, true
		info.hint = "the program that serves this connection decides on the role"
		return conn, info, nil
	case classUnix:
		info.identity, info.hint = processIdentity(conn.peer, h.listener.ownUID, h.listener.workers)
		return conn, info, nil
	}
	if h.listener.tls != nil {
		return h.tlsHandshake(conn, info)
	}
	if conn.local {
		info.SecurityLevel = credentials.NoSecurity
		info.identity, info.hint = h.access.loopbackIdentity()
		return conn, info, nil
	}
	info.SecurityLevel, info.private = credentials.NoSecurity, false
	info.identity = Identity{Name: anonymous, Role: RoleNone, UID: -1, PID: -1}
	info.hint = "the connection is neither encrypted nor from this host: connect by TLS with a client certificate " +
		"or a token, or from the host itself"
	return conn, info, nil
}

func (h *handshaker) tlsHandshake(conn *guardedConn, info *authInfo) (net.Conn, credentials.AuthInfo, error) {
	secured := tls.Server(conn, h.listener.tls)
	if err := secured.Handshake(); err != nil {
		if left, due := h.access.refusals.due(time.Now(), "tls "+conn.origin.String()); due {
			h.access.log.LogAttrs(context.Background(), slog.LevelInfo, "refused a connection",
				slog.String("address", conn.RemoteAddr().String()),
				slog.String("reason", "TLS handshake: "+clip(err.Error())),
				slog.Int("unlogged", left))
		}
		return nil, nil, fmt.Errorf("TLS handshake: %w", err)
	}
	state := secured.ConnectionState()
	if state.NegotiatedProtocol != "h2" {
		return nil, nil, fmt.Errorf("TLS handshake: the client does not offer protocol h2 (ALPN)")
	}
	switch {
	case len(state.VerifiedChains) > 0:
		info.identity, info.hint = h.access.certIdentity(state.VerifiedChains[0][0])
	case conn.local:
		info.identity, info.hint = h.access.loopbackIdentity()
	default:
		info.identity = Identity{Name: anonymous, Role: RoleNone, UID: -1, PID: -1}
		info.hint = "neither a client certificate nor a token was given: give one of them"
	}
	info.identity.Local = conn.local
	return secured, info, nil
}

func (h *handshaker) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: h.listener.class.String()}
}

func (h *handshaker) Clone() credentials.TransportCredentials {
	return &handshaker{listener: h.listener, access: h.access}
}

func (h *handshaker) OverrideServerName(string) error { return errServerOnly }

// peerProcess is the process at the other end of a unix socket, as the kernel gave it when it connected.
type peerProcess struct {
	uid, gid, pid int
	groups        []int // supplementary
	unmapped      bool  // the uid stands for any user that this user namespace does not know
}

// processIdentity judges a caller on the unix socket of a server that runs as own. workers is the id of the
// group whose members are workers, or -1.
func processIdentity(p peerProcess, own, workers int) (Identity, string) {
	id := Identity{Name: fmt.Sprintf("uid:%d", p.uid), Role: RoleNone, UID: p.uid, PID: p.pid, Local: true}
	if p.unmapped {
		return id, "the user is not known in the user namespace that the server runs in: run both in one, or use TLS"
	}
	member := p.gid == workers
	for _, gid := range p.groups {
		member = member || gid == workers
	}
	switch {
	case p.uid == 0 || p.uid == own:
		id.Role = RoleOperator
		return id, ""
	case workers >= 0 && member:
		id.Role = RoleWorker
		return id, fmt.Sprintf("call as root or as uid %d, or give a token", own)
	case workers >= 0:
		return id, fmt.Sprintf("add the user to group %s and log in again, call as root or as uid %d, or give a token",
			workerGroup, own)
	default:
		return id, fmt.Sprintf("create group %s, add the user to it and restart the server, call as root or as uid %d, "+
			"or give a token", workerGroup, own)
	}
}

func (a *accessTable) loopbackIdentity() (Identity, string) {
	return Identity{Name: loopbackName, Role: a.LoopbackRole, UID: -1, PID: -1, Local: true},
		"call over the unix socket, give a token, or start the server with a greater --loopback-role"
}

// certIdentity judges a caller by its verified certificate.
func (a *accessTable) certIdentity(cert *x509.Certificate) (Identity, string) {
	id := Identity{Name: anonymous, Role: RoleNone, UID: -1, PID: -1}
	name := certName(cert)
	if name == "" {
		return id, fmt.Sprintf("the client certificate has no name: it needs a URI SAN or a common name, of at most %d "+
			"printable characters", maxCertName)
	}
	role, ok := a.CertRoles[name]
	if !ok {
		role = a.DefaultCertRole
	}
	id.Name, id.Role = "cert:"+name, role
	return id, fmt.Sprintf("give %q a greater role in the server's configuration", name)
}

// maxCertName bounds in bytes the name of a certificate, which goes to logs and is kept.
const maxCertName = 256

// certName returns the first URI SAN, else CN= and the common name, else "".
func certName(cert *x509.Certificate) string {
	var name string
	switch {
	case len(cert.URIs) > 0:
		name = cert.URIs[0].String()
	case cert.Subject.CommonName != "":
		name = commonNamePrefix + cert.Subject.CommonName
	}
	unprintable := func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }
	if len(name) > maxCertName || strings.ContainsFunc(name, unprintable) {
		return ""
	}
	return name
}
