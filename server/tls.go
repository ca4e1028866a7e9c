package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// LoadTLS returns the TLS configuration of a server from PEM files: its certificate chain, its key and,
// unless clientCAFile is empty, the authorities of client certificates, which are then required. The least
// version is 1.2. All faults are reported together; a certificate that has expired is one.
//
// The files are read again, at most every 5 s, when somebody connects. New content takes effect as a whole,
// for new connections; content with a fault is logged once, and the old one stays. A nil log discards that.
func LoadTLS(certFile, keyFile, clientCAFile string, log *slog.Logger) (*tls.Config, error) {
	if certFile == "" || keyFile == "" {
		return nil, errors.New("TLS: --tls-cert and --tls-key go together, and --tls-client-ca goes with both")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	files := &tlsFiles{cert: certFile, key: keyFile, clientCA: clientCAFile, log: log}
	now := time.Now()
	content := files.read()
	config, err := content.config(now)
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	files.current.Store(config)
	files.seen, files.checked = content.sum(), now

	outer := config.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return files.at(time.Now()), nil }
	return outer, nil
}

// tlsFiles keeps the configuration that the files last held without a fault.
type tlsFiles struct {
	cert, key, clientCA string
	log                 *slog.Logger

	current atomic.Pointer[tls.Config]

	mu      sync.Mutex // held by the one handshake that reads the files; the others do not wait for it
	checked time.Time
	seen    [sha256.Size]byte // of the content that was last judged
}

// tlsCheckInterval is the least time between two readings of the files.
const tlsCheckInterval = 5 * time.Second

// at returns the configuration for a connection that begins at now.
func (f *tlsFiles) at(now time.Time) *tls.Config {
	if !f.mu.TryLock() {
		return f.current.Load()
	}
	defer f.mu.Unlock()
	if now.Sub(f.checked) < tlsCheckInterval {
		return f.current.Load()
	}
	f.checked = now
	content := f.read()
	sum := content.sum()
	if sum == f.seen {
		return f.current.Load()
	}
	f.seen = sum
	config, err := content.config(now)
	if err != nil {
		f.log.Error("the TLS files have a fault; the old ones stay in force", "error", err)
		return f.current.Load()
	}
	f.current.Store(config)
	f.log.Info("took up new TLS files", "cert", f.cert)
	return config
}

// tlsContent is what the files held, or why they could not be read.
type tlsContent struct {
	files     *tlsFiles
	cert, key []byte
	clientCA  []byte
	errs      []error
}

// maxTLSFileBytes bounds each file.
const maxTLSFileBytes = 1 << 20

func (f *tlsFiles) read() tlsContent {
	c := tlsContent{files: f}
	load := func(path string) []byte {
		text, err := readBounded(path, maxTLSFileBytes)
		if err != nil {
			c.errs = append(c.errs, err)
		}
		return text
	}
	c.cert, c.key = load(f.cert), load(f.key)
	if f.clientCA != "" {
		c.clientCA = load(f.clientCA)
	}
	return c
}

func readBounded(path string, limit int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return text, err
}

// sum is a digest that differs between contents, and between contents and faults of reading.
func (c tlsContent) sum() [sha256.Size]byte {
	digest := sha256.New()
	for _, text := range [][]byte{c.cert, c.key, c.clientCA} {
		fmt.Fprintf(digest, "%d:", len(text))
		digest.Write(text)
	}
	for _, err := range c.errs {
		fmt.Fprintf(digest, "%v\n", err)
	}
	return [sha256.Size]byte(digest.Sum(nil))
}

// config returns the configuration that the content makes at now, or all its faults.
func (c tlsContent) config(now time.Time) (*tls.Config, error) {
	errs := c.errs
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		// Connections last, so resuming saves nothing; and a resumed one would skip a changed clientCA.
		SessionTicketsDisabled: true,
	}
	if c.cert != nil && c.key != nil {
		pair, err := tls.X509KeyPair(c.cert, c.key)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s with %s: %w", c.files.cert, c.files.key, err))
		case now.After(pair.Leaf.NotAfter):
			errs = append(errs, fmt.Errorf("%s: the certificate expired on %s", c.files.cert,
				pair.Leaf.NotAfter.Format(time.DateTime)))
		default:
			config.Certificates = []tls.Certificate{pair}
		}
	}
	if c.clientCA != nil {
		pool, err := certPool(c.clientCA)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.files.clientCA, err))
		}
		config.ClientCAs, config.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return config, errors.Join(errs...)
}

// certPool returns the certificates of a PEM text. Unlike x509.CertPool it skips none that it cannot read.
func certPool(text []byte) (*x509.CertPool, error) {
	pool, count := x509.NewCertPool(), 0
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %s and is to hold certificates", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", count+1, err)
		}
		pool.AddCert(cert)
		count++
	}
	if count == 0 {
		return nil, errors.New("it holds no certificate in PEM form")
	}
	return pool, nil
}
