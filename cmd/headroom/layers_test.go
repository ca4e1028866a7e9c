package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// giveAll applies what a file, an environment and a command line give to a fresh set of settings.
func giveAll(t *testing.T, file string, env map[string]string, args ...string) (*serveSettings, map[string]string, faults) {
	t.Helper()
	c := newServeSettings()
	table := c.table()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	byFlags := addFlags(flags, table)
	if err := flags.Parse(args); err != nil {
		t.Fatalf("Parse(%q) = %v", args, err)
	}
	fromFile, wrong := parseFile("f.yaml", []byte(file))
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	origin, more := apply(table, fromFile, fromEnvironment(table, lookup), byFlags())
	return c, origin, append(wrong, more...)
}

func TestLaterLayersWin(t *testing.T) {
	file := "cpu-interval: 2s\nmemory-interval: 2s\nclient-interval: 2s\n"
	env := map[string]string{"HEADROOM_MEMORY_INTERVAL": "3s", "HEADROOM_CLIENT_INTERVAL": "3s", "HEADROOM_HISTORY": ""}
	c, origin, wrong := giveAll(t, file, env, "--client-interval=4s", "--insecure", "--disable", "cpu", "--disable=memory,client")
	if len(wrong) > 0 {
		t.Fatalf("faults: %v", wrong)
	}
	for _, s := range c.table() {
		want, from := "", ""
		switch s.name {
		case "cpu-interval":
			want, from = "2s", "f.yaml:1"
		case "memory-interval":
			want, from = "3s", "$HEADROOM_MEMORY_INTERVAL"
		case "client-interval":
			want, from = "4s", "--client-interval"
		case "insecure":
			want, from = "true", "--insecure"
		case "disable":
			want, from = "cpu,memory,client", "--disable"
		case "history":
			want, from = "0s", ""
		default:
			continue
		}
		if got := s.value.String(); got != want || origin[s.name] != from {
			t.Errorf("%s = %q from %q, want %q from %q", s.name, got, origin[s.name], want, from)
		}
	}
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	file := strings.Join([]string{
		"max-cpu-ratio: 95",
		"histroy: 10s",
		"history: 2",
		"history: 9s",
		"listen: [a]",
		"socket: relative.sock",
		"max-memory: {size: 4GiB}",
		"insecure: yes",
		"stale:",
		"disable: [cpu, memroy]",
		"cert-role: CN=ci=king",
		"http: 8080",
		"config: other.yaml",
		`log-level: "a\nb"`,
	}, "\n")
	_, _, wrong := giveAll(t, file, map[string]string{"HEADROOM_LOG_FORMAT": "xml"}, "--profile=crawlee", "--max-signals=-1",
		"--resource=A=1,b=-1", "--resource=good=1", "--resource=c")
	want := `f.yaml:1: max-cpu-ratio: 95: want a ratio over 0 and up to 1 (95 percent is 0.95)
f.yaml:2: histroy: no such setting; did you mean history?
f.yaml:3: history: 2: want a duration from 5s to 1h (with a unit, as in 2s)
f.yaml:4: history: set before, on line 3
f.yaml:5: listen: a list: want host:port or off
f.yaml:6: socket: relative.sock: want an absolute path or off
f.yaml:7: max-memory: a mapping: want a size, such as 4GiB
f.yaml:8: insecure: yes: want true or false
f.yaml:9: stale: nothing: want hold, ignore or overloaded
f.yaml:10: disable: memroy: want a list of any of cpu, memory, event_loop, client, pressure_cpu, pressure_memory, pressure_io, cpu_throttled or run_queue_wait (did you mean memory?)
f.yaml:11: cert-role: CN=ci=king: want a list of name=role, the role one of none, reader, worker, observer or operator ("king" is no role)
f.yaml:12: http: 8080: want host:port or off (the host is missing, as in 127.0.0.1:8080)
f.yaml:13: config: no such setting
f.yaml:14: log-level: "a\nb": want debug, info, warn or error
$HEADROOM_LOG_FORMAT: log-format: xml: want text or json
--profile: crawlee: want headroom, crawlee-python or crawlee-js
--resource: A=1: want a list of name=limit, each name once, the limit from 0 to 1000000000 (a name is 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit)
--resource: b=-1: want a list of name=limit, each name once, the limit from 0 to 1000000000
--resource: c: want a list of name=limit, each name once, the limit from 0 to 1000000000 (the limit is missing, as in c=8)
--max-signals: -1: want a whole number from 1 to 256`
	if got := wrong.Error(); got != want {
		t.Errorf("faults:\n%s\nwant:\n%s", got, want)
	}
}

func TestConflicts(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string // the beginning of the only fault; empty for none
	}{
		{"", ""},
		{"--listen=0.0.0.0:1", "--listen: 0.0.0.0:1: want a loopback"},
		{"--listen=:1", "--listen: :1: want a loopback"},
		{"--listen=example.org:1", "--listen: example.org:1: want a loopback"},
		{"--listen=[::1]:1", ""},
		{"--listen=localhost:1", ""},
		{"--listen=0.0.0.0:1 --insecure", ""},
		{"--listen=0.0.0.0:1 --tls-cert=c --tls-key=k", ""},
		{"--http=0.0.0.0:1", "--http: 0.0.0.0:1: want a loopback"},
		{"--http=0.0.0.0:1 --insecure", ""},
		{"--tls-cert=c", "--tls-cert: c: want tls-key"},
		{"--tls-key=k", "--tls-key: k: want tls-cert"},
		{"--tls-client-ca=a", "--tls-client-ca: a: want tls-cert"},
		{"--cert-role=a=reader", "--cert-role: a=reader: want tls-client-ca"},
		{"--history=10s --current-window=20s", "--current-window: 20s: want at most history, which is 10s"},
		{"--listen=off --socket=off", "--listen: off: want listen or socket"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			c, origin, wrong := giveAll(t, "", nil, strings.Fields(tt.args)...)
			if len(wrong) > 0 {
				t.Fatal(wrong)
			}
			c.fill()
			got := c.conflicts(origin)
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0].Error(), tt.want)) {
				t.Errorf("conflicts = %v, want %q", got, tt.want)
			}
		})
	}
}

func TestMisspeltVariables(t *testing.T) {
	got := misspelt(newServeSettings().table(), []string{
		"HEADROOM_HISTROY=1s", "HEADROOM_ADDR=x", "HEADROOM_SERVICE_HOST=10.0.0.1", "HEADROOM_PORT=tcp://10.0.0.1", "PATH=/bin",
	})
	if len(got) != 1 || !strings.Contains(got[0], "$HEADROOM_HISTROY") || !strings.Contains(got[0], "$HEADROOM_HISTORY?") {
		t.Errorf("misspelt = %q, want one of HEADROOM_HISTROY", got)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"history", "http", "socket", "cpu"}
	for name, want := range map[string]string{
		"histroy": "history", "hitsory": "history", "sockets": "socket", "htpp": "http", "cpi": "cpu",
		"x": "", "hist": "", "": "", strings.Repeat("h", 100): "",
	} {
		if got := nearest(name, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestCheckAddress(t *testing.T) {
	for _, text := range []string{"off", "127.0.0.1:0", "[::1]:65535", ":7070", "example.org:1", "[fe80::1%lo]:1"} {
		if err := checkAddress(text); err != nil {
			t.Errorf("checkAddress(%q) = %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"":                 "not accepted",
		"7070":             "the host is missing, as in 127.0.0.1:7070",
		"127.0.0.1":        "the port is missing, as in 127.0.0.1:7070",
		"::1":              "the port is missing, as in [::1]:7070",
		"localhost":        "the port is missing, as in localhost:7070",
		"localhost:http":   "a port from 0 to 65535",
		"localhost:65536":  "a port from 0 to 65535",
		"a:b:c":            "not accepted",
		"tcp://1.2.3.4:70": "not accepted",
	} {
		if err := checkAddress(text); err == nil || err.Error() != want {
			t.Errorf("checkAddress(%q) = %v, want %s", text, err, want)
		}
	}
}
