package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoadTLSReportsAllFaults(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t)
	certPEM, keyPEM := a.serverCert()
	_, otherKey := a.serverCert()
	expired, expiredKey := a.issue(x509.Certificate{Subject: pkix.Name{CommonName: "old"}, NotAfter: time.Now().Add(-time.Hour)})
	good := func(name string, text []byte) string { return writeFile(t, dir, name, text) }
	cert, key, ca := good("cert", certPEM), good("key", keyPEM), good("ca", a.pem())
	missing := filepath.Join(dir, "missing")
	for _, tt := range []struct {
		name          string
		cert, key, ca string
		want          []string
	}{
		{"all good", cert, key, ca, nil},
		{"no authority", cert, key, "", nil},
		{"certificate alone", cert, "", "", []string{"--tls-cert", "--tls-key"}},
		{"authority alone", "", "", ca, []string{"--tls-client-ca"}},
		{"all missing", missing + "1", missing + "2", missing + "3", []string{"missing1", "missing2", "missing3"}},
		{"another's key", cert, good("key2", otherKey), good("empty", nil), []string{"key2", "empty", "no certificate"}},
		{"key for an authority", cert, key, key, []string{"PRIVATE KEY"}},
		{"expired", good("old", expired), good("oldkey", expiredKey), "", []string{"expired on"}},
		{"garbage in the middle of the authorities", cert, key, good("mixed", append(bytes.Clone(a.pem()),
			"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...)), []string{"certificate 2"}},
		{"directory", dir, key, "", []string{"not a regular file"}},
	} {
		config, err := LoadTLS(tt.cert, tt.key, tt.ca, nil)
		if (err != nil) != (tt.want != nil) {
			t.Errorf("%s: LoadTLS = %v, want an error: %t", tt.name, err, tt.want != nil)
			continue
		}
		for _, text := range tt.want {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: error %q does not hold %q", tt.name, err, text)
			}
		}
		if err == nil && config.MinVersion < tls.VersionTLS12 {
			t.Errorf("%s: MinVersion = %x, want at least 1.2", tt.name, config.MinVersion)
		}
	}
}

func TestTLSFilesAreTakenUpAsAWhole(t *testing.T) {
	log := &lines{}
	dir := t.TempDir()
	a := newAuthority(t)
	firstCert, firstKey := a.serverCert()
	secondCert, secondKey := a.serverCert()
	files := &tlsFiles{cert: writeFile(t, dir, "cert", firstCert), key: writeFile(t, dir, "key", firstKey), log: log.logger()}
	now := time.Now()
	content := files.read()
	config, err := content.config(now)
	if err != nil {
		t.Fatal(err)
	}
	files.current.Store(config)
	files.seen, files.checked = content.sum(), now

	serial := func(at time.Time) string { return files.at(at).Certificates[0].Leaf.SerialNumber.String() }
	first := serial(now)

	writeFile(t, dir, "cert", secondCert) // half of the change
	if got := serial(now.Add(tlsCheckInterval - 1)); got != first {
		t.Errorf("before the interval: serial %s, want %s", got, first)
	}
	for range 3 {
		now = now.Add(tlsCheckInterval)
		if got := serial(now); got != first {
			t.Errorf("with a key that does not fit: serial %s, want the old %s", got, first)
		}
	}
	if got := strings.Count(log.String(), "have a fault"); got != 1 {
		t.Errorf("the fault was logged %d times, want once", got)
	}

	writeFile(t, dir, "key", secondKey)
	now = now.Add(tlsCheckInterval)
	if got := serial(now); got == first {
		t.Errorf("with the new pair: serial %s, want another", got)
	}
	second := serial(now)

	if err := os.Remove(files.cert); err != nil {
		t.Fatal(err)
	}
	now = now.Add(tlsCheckInterval)
	if got := serial(now); got != second {
		t.Errorf("without the file: serial %s, want the old %s", got, second)
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("the log holds a key")
	}
}
