//go:build unix

package client_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/client"
)

func TestWhereAServerListens(t *testing.T) {
	t.Setenv("TMPDIR", "/t")
	for _, test := range []struct {
		name        string
		env         map[string]string
		uid         int
		wantDefault string
		want        []string
	}{
		{"plain user", nil, 1000, "/t/headroom-1000/headroom.sock",
			[]string{"unix://" + client.RunSocket, "unix:///t/headroom-1000/headroom.sock", "127.0.0.1:7070"}},
		{"user with a session", map[string]string{"XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, "/run/user/1000/headroom.sock",
			[]string{"unix://" + client.RunSocket, "unix:///run/user/1000/headroom.sock", "unix:///t/headroom-1000/headroom.sock", "127.0.0.1:7070"}},
		{"relative session folder", map[string]string{"XDG_RUNTIME_DIR": "run"}, 1000, "/t/headroom-1000/headroom.sock",
			[]string{"unix://" + client.RunSocket, "unix:///t/headroom-1000/headroom.sock", "127.0.0.1:7070"}},
		{"root", nil, 0, client.RunSocket,
			[]string{"unix://" + client.RunSocket, "unix:///t/headroom-0/headroom.sock", "127.0.0.1:7070"}},
		{"named", map[string]string{"HEADROOM_SOCKET": "/s", "XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/s",
			[]string{"unix:///s", "127.0.0.1:7070"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			getenv := func(key string) string { return test.env[key] }
			if got := client.DefaultSocketOf(getenv, test.uid); got != test.wantDefault {
				t.Errorf("default socket = %s, want %s", got, test.wantDefault)
			}
			if got := client.Discover(getenv, test.uid); !slices.Equal(got, test.want) {
				t.Errorf("tried = %v, want %v", got, test.want)
			}
		})
	}
}

func TestCheckOwner(t *testing.T) {
	folder := func(mode os.FileMode) string {
		dir := filepath.Join(t.TempDir(), "d")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil { // past the umask
			t.Fatal(err)
		}
		return dir
	}
	file, link := filepath.Join(t.TempDir(), "f"), filepath.Join(t.TempDir(), "l")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(folder(0o700), link); err != nil {
		t.Fatal(err)
	}
	me := os.Geteuid()
	for _, test := range []struct {
		name, dir string
		uid       int
		want      string // "" where it is trusted
	}{
		{"own", folder(0o700), me, ""},
		{"readable", folder(0o755), me, ""},
		{"group may write", folder(0o770), me, "may be written by others (mode 0770)"},
		{"all may write", folder(0o1777), me, "may be written by others (mode 0777)"},
		{"file", file, me, "is not a folder"},
		{"link to an own folder", link, me, "is not a folder"},
		{"missing", filepath.Join(file, "x"), me, "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := client.CheckOwner(test.dir, test.uid)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("CheckOwner = %v, want %q", err, test.want)
			}
		})
	}
	t.Run("another user's", func(t *testing.T) {
		dir, uid := folder(0o700), me+1
		if me == 0 { // what root owns is trusted by all, so give it away
			if err := os.Chown(dir, 4242, -1); err != nil {
				t.Skip(err)
			}
			uid = 4343
		}
		if err := client.CheckOwner(dir, uid); err == nil || !strings.Contains(err.Error(), "neither to root nor to user") {
			t.Errorf("CheckOwner = %v, want a refusal", err)
		}
	})
}

// Whoever made the folder in the shared temporary directory could pose as the server.
func TestDialDistrustsASharedFolder(t *testing.T) {
	t.Setenv("HEADROOM_ADDR", "")
	t.Setenv("HEADROOM_SOCKET", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	if _, err := os.Stat(client.RunSocket); err == nil {
		t.Skip("a server runs on this host")
	}
	tmp, err := os.MkdirTemp("", "h") // short: a socket's path has at most 104 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	t.Setenv("TMPDIR", tmp)
	socket := client.DefaultSocketOf(func(string) string { return "" }, max(os.Geteuid(), 1))
	if os.Geteuid() == 0 {
		socket = filepath.Join(tmp, "headroom-0", "headroom.sock")
	}
	if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	listen(t, "unix", socket, "socket")
	tcp := listen(t, "tcp", "127.0.0.1:0", "tcp").String()

	for mode, want := range map[os.FileMode]string{0o700: "socket", 0o777: "tcp"} {
		if err := os.Chmod(filepath.Dir(socket), mode); err != nil {
			t.Fatal(err)
		}
		c, err := client.Dial(t.Context(), client.WithTCP(tcp))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Server().InstanceID; got != want {
			t.Errorf("mode %v: Dial found %s, want %s", mode, got, want)
		}
		c.Close()
	}
}
