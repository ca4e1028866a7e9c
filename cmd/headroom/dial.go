package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/client"
)

// systemCA stands for the authorities that the system trusts.
const systemCA = "system"

// serverFlags say which server a command asks, and how.
type serverFlags struct {
	addr                   string
	tlsCA, tlsCert, tlsKey string
	tokenFile              string
	timeout                time.Duration
}

// addServerFlags defines the flags that every command has that asks a server.
func addServerFlags(cmd *cobra.Command) *serverFlags {
	f := addAddressFlags(cmd)
	addFlag(cmd, durationSetting("timeout", &f.timeout, time.Millisecond, 24*time.Hour, "how long to wait"), "")
	return f
}

// addAddressFlags is addServerFlags without the flag for how long to wait.
func addAddressFlags(cmd *cobra.Command) *serverFlags {
	f := &serverFlags{timeout: 5 * time.Second}
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", "", "server: unix:///path or host:port (default $HEADROOM_ADDR, else this machine's)")
	flags.StringVar(&f.tlsCA, "tls-ca", "", "authorities that sign the server's certificate, PEM, or system; turns TLS on")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "own certificate, PEM")
	flags.StringVar(&f.tlsKey, "tls-key", "", "private key of tls-cert, PEM")
	flags.StringVar(&f.tokenFile, "token-file", "", "file that holds a token (default: the token is in $HEADROOM_TOKEN)")
	return f
}

// dial connects to the server. Nobody there is an exitError that names every address that was tried.
func (f *serverFlags) dial(ctx context.Context, options ...client.Option) (*client.Client, error) {
	options = append(options, client.WithAddress(f.addr), client.WithVersion(version))
	conf, err := f.tls()
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	if conf != nil {
		options = append(options, client.WithTLS(conf))
	}
	token, err := f.token()
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	if token != "" {
		options = append(options, client.WithToken(token))
	}
	c, err := client.Dial(ctx, options...)
	if err != nil {
		return nil, dialError(err)
	}
	return c, nil
}

// inFlags says in the words of the flags what the client says in those of its options.
var inFlags = strings.NewReplacer("client: ", "", "WithAddress", "--addr", "WithToken", "token", "WithTLS", "--tls-ca")

// dialError is the exitError for a connection that could not be made.
func dialError(err error) error {
	if !errors.Is(err, client.ErrNoServer) {
		return &exitError{exitUsage, errors.New(inFlags.Replace(err.Error()))}
	}
	code := exitUnknown
	var called *exitError
	if statusOf(err) != nil && errors.As(callError(err), &called) {
		code = called.code
	}
	return &exitError{code, &described{strings.TrimPrefix(err.Error(), "client: "), err}}
}

// tls returns the configuration that the flags describe, or nil for none.
func (f *serverFlags) tls() (*tls.Config, error) {
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return nil, errors.New("--tls-cert and --tls-key go together")
	}
	if f.tlsCA == "" {
		if f.tlsCert != "" {
			return nil, errors.New("--tls-cert: want --tls-ca with it")
		}
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.tlsCA != systemCA {
		text, err := os.ReadFile(f.tlsCA)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--tls-ca: no certificate in %s", f.tlsCA)
		}
	}
	if f.tlsCert != "" {
		pair, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// token returns the token to send, or "" for none.
func (f *serverFlags) token() (string, error) {
	if f.tokenFile == "" {
		return strings.TrimSpace(os.Getenv("HEADROOM_TOKEN")), nil
	}
	text, err := readTrusted(f.tokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %s: %w", f.tokenFile, err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("--token-file: %s: no token in it", f.tokenFile)
	}
	return token, nil
}
