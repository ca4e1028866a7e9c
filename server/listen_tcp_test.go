package server

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

func TestListenTCPRefusesPlaintextForOtherHosts(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		l, err := ListenTCP(addr, nil, false)
		if err == nil {
			l.Close()
			t.Errorf("ListenTCP(%q) = nil, want an error", addr)
			continue
		}
		for _, flag := range []string{"--tls-cert", "--tls-key", "--insecure"} {
			if !strings.Contains(err.Error(), flag) {
				t.Errorf("ListenTCP(%q) = %q, want it to name %s", addr, err, flag)
			}
		}
	}
}

func TestListenTCPTakesLoopbackByAddressAndByName(t *testing.T) {
	addrs := []string{"127.0.0.1:0", "127.1.2.3:0", "localhost:0"}
	if _, err := net.LookupHost("localhost"); err != nil {
		addrs = addrs[:2] // no such name here
	}
	for _, addr := range addrs {
		l, err := ListenTCP(addr, nil, false)
		if err != nil {
			t.Errorf("ListenTCP(%q) = %v, want nil", addr, err)
			continue
		}
		if l.remote() {
			t.Errorf("%q: other hosts can reach %v, want a loopback address", addr, l.Addr())
		}
		l.Close()
	}
}

func TestListenTCPTakesEveryAddressWithInsecure(t *testing.T) {
	l, err := ListenTCP("0.0.0.0:0", nil, true)
	if err != nil {
		t.Fatalf("ListenTCP = %v, want nil", err)
	}
	defer l.Close()
	if !l.remote() {
		t.Errorf("remote() = false for %v, want true", l.Addr())
	}
}

func TestListenTCPNamesTheOwnerOfATakenPort(t *testing.T) {
	first := listenLoopback(t)
	_, err := ListenTCP(first.Addr().String(), nil, false)
	if err == nil {
		t.Fatal("a second ListenTCP on the address = nil, want an error")
	}
	if want := fmt.Sprintf("pid %d, command", os.Getpid()); !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not hold %q", err, want)
	}
}

func TestListenTCPExplainsABadAddress(t *testing.T) {
	for _, addr := range []string{"", "7070", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:http2x"} {
		if _, err := ListenTCP(addr, nil, false); err == nil || !strings.Contains(err.Error(), "HOST:PORT") {
			t.Errorf("ListenTCP(%q) = %v, want an error that says HOST:PORT", addr, err)
		}
	}
}
