package server

import (
	"context"
	"log/slog"

	"google.golang.org/grpc"
)

type Access struct {
	LoopbackRole    Role
	Tokens          []Token
	CertRoles       map[string]Role
	DefaultCertRole Role
}
type Token struct {
	Name   string
	Role   Role
	SHA256 [32]byte
}

var methodRoles = map[string]Role{}

type accessTable struct{}

func (a Access) validate() error                             { return nil }
func newAccessTable(a Access, log *slog.Logger) *accessTable { return nil }
func (a *accessTable) unary() grpc.UnaryServerInterceptor    { return nil }
func (a *accessTable) stream() grpc.StreamServerInterceptor  { return nil }

type callKey struct{}
type call struct{ identity Identity }

// deniedError: PERMISSION_DENIED, reason ROLE_REQUIRED.
type deniedError struct {
	method   string
	identity Identity
	need     Role
	hint     string
}

func (e *deniedError) Error() string { return e.hint }

// credentialError: UNAUTHENTICATED, reason in e.reason.
type credentialError struct{ reason, text string }

func (e *credentialError) Error() string { return e.text }

// unknownMethodError: UNIMPLEMENTED.
type unknownMethodError struct{ method string }

func (e *unknownMethodError) Error() string { return e.method }

// connectionLimitError: RESOURCE_EXHAUSTED, reason CONNECTIONS.
type connectionLimitError struct {
	whose string
	limit int
}

func (e *connectionLimitError) Error() string { return e.whose }

func (g *guard) stalled(ctx context.Context) {}
