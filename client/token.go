package client

import (
	"context"
	"errors"
	"strings"
)

// bearer is a token that goes with each call. It does not ask gRPC for transport security, which would
// refuse unix sockets and loopback too: newConfig decides where it may go.
type bearer string

func (b bearer) validate() error {
	if b == "" {
		return errors.New("WithToken: the token is empty")
	}
	if strings.ContainsFunc(string(b), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("WithToken: the token holds a space or a character that is not printable ASCII")
	}
	return nil
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

// String keeps the token out of logs.
func (bearer) String() string { return "token" }
