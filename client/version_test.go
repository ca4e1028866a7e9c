package client_test

import (
	"testing"

	"github.com/headroom-rpc/headroom/client"
)

func TestVersionSkew(t *testing.T) {
	for _, test := range []struct {
		client, server string
		want           string
	}{
		{"0.1.0", "0.1.7", ""},
		{"0.1.0", "v0.1.0-rc.1", ""},
		{"v0.1.0", "0.1.0+build.5", ""},
		{"0.1.0", "0.2.0", "the server is version 0.2.0, the client 0.1.0"},
		{"v0.1.0", "v1.1.0", "the server is version 1.1.0, the client 0.1.0"},
		{"(devel)", "0.2.0", ""},
		{"0.1.0", "(devel)", ""},
		{"0.1.0", "", ""},
		{"0.0.0-20261121120000-abcdefabcdef+dirty", "0.2.0", ""},
		{"0.1.0", "2.0", ""},
		{"0.1.0", "0.x.0", ""},
		{"0.1.0", "0.-2.0", ""},
	} {
		if got := client.VersionSkew(test.client, test.server); got != test.want {
			t.Errorf("client %q, server %q: %q, want %q", test.client, test.server, got, test.want)
		}
	}
}

func TestBuildVersion(t *testing.T) {
	if got := client.BuildVersion(); got == "" || got[0] == 'v' {
		t.Errorf("build version = %q, want one without v", got)
	}
}
