package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/server"
)

// takePermits reads the section of permits of a file.
func takePermits(text string) (*permitSettings, faults) {
	fromFile, wrong := parseFile("f.yaml", []byte(text))
	p := new(permitSettings)
	_, more := p.take(fromFile)
	return p, append(wrong, more...)
}

const manyPermits = `permits:
  host:
    law: fixed
    limit: 16
    floor: 0.2
    severity:
      2: cap 50%
      1: cap 8
      3: drain
      4: cancel after 30s
  resources:
    billing-api: 8
    gpu:
      limit: 2
      grants:
        default: {denied: true}
        uid:1000: {max: 1, weight: 3, max-priority: 5, max-guarantee: 1}
        "cert:CN=a: b": {}
        token:ci: {max-priority: -1}
`

func TestPermits(t *testing.T) {
	p, wrong := takePermits(manyPermits)
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	p.limits = []string{"billing-api=9", "host=3", "more=0"}
	got, err := p.server()
	if err != nil {
		t.Fatal(err)
	}
	law, err := limit.NewFixed(3)
	if err != nil {
		t.Fatal(err)
	}
	want := server.PermitConfig{
		Resources: []permit.Resource{
			{Name: "billing-api", Limit: 9},
			{Name: "gpu", Limit: 2, Default: permit.Grant{Denied: true}, Grants: map[string]permit.Grant{
				"uid:1000":     {Max: 1, Weight: 3, MaxPriority: 5, MaxGuarantee: 1},
				"cert:CN=a: b": {},
				"token:ci":     {MaxPriority: -1},
			}},
			{Name: "more"},
		},
		Host: server.HostPermits{Law: law, FloorRatio: 0.2, Severity: []server.SeverityRule{
			{Level: 2, Action: server.SeverityCap, Ratio: 0.5},
			{Level: 1, Action: server.SeverityCap, Limit: 8},
			{Level: 3, Action: server.SeverityDrain},
			{Level: 4, Action: server.SeverityCancel, CancelAfter: 30 * time.Second},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("config:\n%+v\nwant:\n%+v", got, want)
	}
	if _, err := server.New(server.Config{Permits: got}); err == nil || strings.Contains(err.Error(), "Permits") {
		t.Errorf("server.New = %v, want no fault of Permits", err)
	}
}

// What nobody set leases host alone, by a law that follows the load, and journals where that is possible.
func TestNoPermits(t *testing.T) {
	c := newServeSettings()
	c.permits.config.StateDir = off
	c.fill()
	got, err := c.permits.server()
	want := server.PermitConfig{TTL: 5 * time.Second, Grace: 2 * time.Second, Heartbeat: time.Second}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func TestPermitsFaults(t *testing.T) {
	const section = "permits:\n"
	for _, tt := range []struct{ name, text, want string }{
		{"good", manyPermits, ""},
		{"empty", "permits: {}", ""},
		{"nothing", "permits:", "f.yaml:1: permits: nothing: want lines of the form resources: or host:"},
		{"a list", "permits: [a]", "f.yaml:1: permits: a list: want lines of the form resources: or host:"},
		{"unknown part", "permits: {resource: {}, machine: {}}",
			"f.yaml:1: permits: resource: no such part of permits; did you mean resources?\n" +
				"f.yaml:1: permits: machine: want resources or host"},
		{"names", section + "  resources:\n    Api: 1\n    host: 1\n    api: 1\n    api: 2\n",
			"f.yaml:3: permits: resources: Api: want " + acceptsResource + "\n" +
				"f.yaml:4: permits: resources: host: want it beside resources: it is there by itself\n" +
				"f.yaml:6: permits: resources: api: set before, on line 5"},
		{"limits", section + "  resources:\n    a: -1\n    b: many\n    c: {}\n    d:\n    e: {limit: [1]}\n    f: {limits: 1}\n",
			"f.yaml:3: permits: resources: a: -1: want a whole number from 0 to 1000000000\n" +
				"f.yaml:4: permits: resources: b: many: want a whole number from 0 to 1000000000\n" +
				"f.yaml:5: permits: resources: c: want a limit\n" +
				"f.yaml:6: permits: resources: d: nothing: want lines of the form limit: N\n" +
				"f.yaml:7: permits: resources: e: limit: a list: want a whole number from 0 to 1000000000\n" +
				"f.yaml:8: permits: resources: f: limits: no such part of a resource; did you mean limit?\n" +
				"f.yaml:8: permits: resources: f: want a limit"},
		{"floor", "permits: {resources: {a: {limit: 1, floor: 0.6}}, host: {floor: 0}}",
			"f.yaml:1: permits: resources: a: floor: 0.6: want a ratio over 0 and up to 0.5\n" +
				"f.yaml:1: permits: host: floor: 0: want a ratio over 0 and up to 0.5"},
		{"identities", "permits: {host: {grants: {uid:x: {}, user:a: {}, token:: {}, default: 5}}}",
			"f.yaml:1: permits: host: grants: uid:x: want default, uid:N, token:NAME, cert:NAME or loopback (a uid is a number, as in uid:1000)\n" +
				"f.yaml:1: permits: host: grants: user:a: want default, uid:N, token:NAME, cert:NAME or loopback\n" +
				"f.yaml:1: permits: host: grants: token:: want default, uid:N, token:NAME, cert:NAME or loopback\n" +
				"f.yaml:1: permits: host: grants: default: want lines of the form max: N"},
		{"grants", section + "  host:\n    grants:\n      default:\n        max: 0\n        weight: 1001\n        max-priority: 11\n" +
			"        denied: yes\n        mx: 1\n",
			"f.yaml:5: permits: host: grants: default: max: 0: want a whole number from 1 to 1000000000\n" +
				"f.yaml:6: permits: host: grants: default: weight: 1001: want a whole number from 1 to 1000\n" +
				"f.yaml:7: permits: host: grants: default: max-priority: 11: want a whole number from -10 to 10\n" +
				"f.yaml:8: permits: host: grants: default: denied: yes: want true or false\n" +
				"f.yaml:9: permits: host: grants: default: mx: want denied, max, weight, max-priority or max-guarantee"},
		{"laws", section + "  host:\n    law: aimd start=0 rise=2\n    shadow: [fixed limit=3, fixed, {a: b}]\n",
			"f.yaml:3: permits: host: law: aimd start=0 rise=2: want " + acceptsLaw + " (aimd: start: \"0\" is not a whole number over 0; " +
				"aimd: there is no setting \"rise\"; known are min, max, start, increase, decrease, interval)\n" +
				"f.yaml:4: permits: host: shadow[1]: fixed: want " + acceptsLaw + " (fixed: 0 is less than 1)\n" +
				"f.yaml:4: permits: host: shadow[2]: a mapping: want " + acceptsLaw},
		{"a limit within the law", "permits: {host: {law: fixed limit=3}}", "f.yaml:1: permits: host: law: fixed limit=3: want " +
			acceptsLaw + " (the limit of the law fixed is a line of its own)"},
		{"shadows that are no list", "permits: {host: {shadow: aimd}}",
			"f.yaml:1: permits: host: shadow: want a list of laws, as in [crawlee, fixed limit=8]"},
		{"fixed without a limit", "permits: {host: {law: fixed}}", "f.yaml:1: permits: host: law: fixed: want a limit with it"},
		{"a limit without fixed", "permits: {host: {limit: 3}}", "f.yaml:1: permits: host: limit: want law: fixed with it"},
		{"a limit of none", "permits: {host: {law: fixed, limit: 0}}",
			"f.yaml:1: permits: host: limit: 0: want a whole number from 1 to 1000000000"},
		{"severity", section + "  host:\n    severity:\n      0: drain\n      1: cap 0\n      2: cap 0.5\n      3: cap 101%\n      4: stop\n" +
			"      5: cancel after 2h\n      6: cancel after 5\n      7: [drain]\n      7: drain\n      65: drain\n",
			"f.yaml:4: permits: host: severity: 0: want a level from 1 to 64\n" +
				"f.yaml:5: permits: host: severity: 1: cap 0: want " + acceptsRule + " (a number is from 1 to 1000000000: a cap is never under 1)\n" +
				"f.yaml:6: permits: host: severity: 2: cap 0.5: want " + acceptsRule + " (0.5 of the limit is 50%)\n" +
				"f.yaml:7: permits: host: severity: 3: cap 101%: want " + acceptsRule + " (a percentage is over 0 and up to 100)\n" +
				"f.yaml:8: permits: host: severity: 4: stop: want " + acceptsRule + "\n" +
				"f.yaml:9: permits: host: severity: 5: cancel after 2h: want " + acceptsRule + " (the time is from 0s to 1h)\n" +
				"f.yaml:10: permits: host: severity: 6: cancel after 5: want " + acceptsRule + " (with a unit, as in 5s)\n" +
				"f.yaml:11: permits: host: severity: 7: a list: want " + acceptsRule + "\n" +
				"f.yaml:12: permits: host: severity: 7: set before, on line 11\n" +
				"f.yaml:13: permits: host: severity: 65: want a level from 1 to 64"},
		{"aliases", "permits: {resources: {a: &x 1, b: *x}}",
			"f.yaml:1: anchors and aliases are not allowed\nf.yaml:1: anchors and aliases are not allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, wrong := takePermits(tt.text)
			if got := wrong.Error(); got != tt.want {
				t.Errorf("faults:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func TestResourceLimits(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"api=8", ""},
		{"a=0,host=1", ""},
		{"api", "want a list of name=limit, each name once, the limit from 0 to 1000000000 (the limit is missing, as in api=8)"},
		{"API=8", "want a list of name=limit, each name once, the limit from 0 to 1000000000 (a name is " + acceptsResource + ")"},
		{"api=-1", "want a list of name=limit, each name once, the limit from 0 to 1000000000"},
		{"host=0", "want a list of name=limit, each name once, the limit from 0 to 1000000000 (that of host is at least 1)"},
	} {
		s := find(newServeSettings().table(), "resource")
		got := ""
		if err := s.value.Set(tt.text); err != nil {
			got = want(s.accepts, err)
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestPermitsConflicts(t *testing.T) {
	c := newServeSettings()
	c.permits.config.Heartbeat = 2 * time.Second
	c.permits.limits = []string{"a=1", "a=2"}
	want := "--lease-heartbeat: 2s: want at most a third of lease-ttl, which is 5s\n" +
		"f.yaml:3: resource: a=2: want each name once"
	got := c.conflicts(map[string]string{"lease-heartbeat": "--lease-heartbeat", "resource": "f.yaml:3"})
	if got.Error() != want {
		t.Errorf("faults:\n%s\nwant:\n%s", got, want)
	}
}

// What is printed as a file gives the same.
func TestPermitsSurvivePrinting(t *testing.T) {
	first, wrong := takePermits(manyPermits)
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	text, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: first.nodes()})
	if err != nil {
		t.Fatal(err)
	}
	second, wrong := takePermits(string(text))
	if len(wrong) > 0 {
		t.Fatalf("%s\n%v", text, wrong)
	}
	want, err := first.server()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.server(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("printed as\n%s\ngives %+v, want %+v (%v)", text, got, want, err)
	}
}

// Permits without a fault are printed so that they are read as the same, and no fault is outside of the file.
func FuzzPermits(f *testing.F) {
	f.Add(manyPermits)
	f.Add("permits: {host: {grants: {uid:1: {}}, severity: {1: cap 1e-3%}}}")
	f.Add("permits:\n  resources: {a: 1, 1: {limit: 0x10, floor: 1e-3}, null: 3}\n")
	f.Fuzz(func(t *testing.T, text string) {
		first, wrong := takePermits(text)
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + strings.Count(text, "\u0085") +
			strings.Count(text, "\u2028") + strings.Count(text, "\u2029") + 1
		for _, f := range wrong {
			if f.line < 0 || f.line > lines {
				t.Fatalf("%q of %d lines: fault on line %d", text, lines, f.line)
			}
		}
		if len(wrong) > 0 {
			return
		}
		printed, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: first.nodes()})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		second, wrong := takePermits(string(printed))
		if len(wrong) > 0 {
			t.Fatalf("%q is printed as %q: %v", text, printed, wrong)
		}
		a, errA := first.server()
		b, errB := second.server()
		if errA != nil || errB != nil {
			t.Fatalf("%q: %v; printed as %q: %v", text, errA, printed, errB)
		}
		if !reflect.DeepEqual(normal(a), normal(b)) {
			t.Fatalf("%q is printed as %q: %+v, want %+v", text, printed, b, a)
		}
	})
}

// normal leaves no difference between grants to nobody and none.
func normal(c server.PermitConfig) server.PermitConfig {
	if len(c.Host.Grants) == 0 {
		c.Host.Grants = nil
	}
	for i := range c.Resources {
		if len(c.Resources[i].Grants) == 0 {
			c.Resources[i].Grants = nil
		}
	}
	return c
}
