package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/server"
)

// permitSettings say which permits are leased, to whom, and where that is written down.
type permitSettings struct {
	config    server.PermitConfig // the times and StateDir, which may be off; the rest is made by server
	limits    []string            // name=limit, stronger than the file
	resources []resourceText      // of the file, in its order
	host      hostText            // of the file
	where     string              // where the section of the file begins; empty for none
}

// A resourceText is what the file says of one resource.
type resourceText struct {
	permit.Resource
	grants []grantText // in the order of the file; Resource has them by name
	where  string      // "FILE:LINE"; empty where the file does not name it
}

// A grantText is what the file grants to one identity, or by default.
type grantText struct{ identity, where string }

// hostText is what the file says of the resource host.
type hostText struct {
	resourceText
	shadows  []string // laws that are tried
	severity []severityRuleText
}

// A severityRuleText is what a severity level does to the resource host.
type severityRuleText struct {
	server.SeverityRule
	where string
}

// The laws of the resource host.
const (
	lawDefault = "twostation"
	lawFixed   = "fixed"
)

// defaultStateDir returns where the journal of permits is kept, or off where no directory can be made.
func defaultStateDir() string {
	dir := "/var/lib/headroom"
	if os.Geteuid() != 0 {
		dir = os.Getenv("XDG_STATE_HOME")
		if !filepath.IsAbs(dir) {
			home, err := os.UserHomeDir()
			if err != nil || !filepath.IsAbs(home) {
				return off
			}
			dir = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(dir, "headroom")
	}
	if !canMake(dir) {
		return off
	}
	return dir
}

func (c *serveSettings) permitSettings() []setting {
	p := &c.permits
	state := textSetting("state-dir", "path", &p.config.StateDir, "an absolute path or off", checkDir,
		"directory of what must outlive a restart: how many permits may be in use; off for none")
	heartbeat := durationSetting("lease-heartbeat", &p.config.Heartbeat, 100*time.Millisecond, 100*time.Second,
		"how often a worker must be heard; at most a third of lease-ttl")
	heartbeat.unset = "1s, or a third of lease-ttl if that is less"
	state.unset = "/var/lib/headroom as root, else $XDG_STATE_HOME/headroom or ~/.local/state/headroom; off where it cannot be made"
	return []setting{
		listSetting("resource", "name=limit", &p.limits, "a list of name=limit, each name once, the limit from 0 to 1000000000",
			checkResourceLimit, "limit of permits of a resource; host=limit fixes that of the machine"),
		state,
		durationSetting("lease-ttl", &p.config.TTL, time.Second, 5*time.Minute,
			"how long a worker that hears nothing from the server may start work"),
		durationSetting("lease-grace", &p.config.Grace, 100*time.Millisecond, 5*time.Minute,
			"how much longer the server keeps what a silent worker holds"),
		heartbeat,
	}
}

// newPermitSettings returns the settings that hold when nothing is given.
func newPermitSettings() permitSettings {
	return permitSettings{config: server.PermitConfig{
		StateDir: defaultStateDir(),
		TTL:      permit.DefaultTTL, Grace: permit.DefaultGrace,
	}}
}

// fill replaces the heartbeat that nobody set.
func (p *permitSettings) fill() {
	if p.config.Heartbeat == 0 {
		p.config.Heartbeat = min(permit.DefaultHeartbeat, (p.config.TTL / 3).Truncate(time.Millisecond))
	}
}

func checkDir(text string) error {
	if text == off || filepath.IsAbs(text) {
		return nil
	}
	return errNotAccepted
}

// resourceName is the pattern of the API for the name of a resource.
var resourceName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

const acceptsResource = "1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit"

func checkResourceLimit(text string) error {
	_, _, err := splitResourceLimit(text)
	return err
}

func splitResourceLimit(text string) (string, int64, error) {
	name, number, ok := strings.Cut(text, "=")
	if !ok {
		return "", 0, hint("the limit is missing, as in " + quoteOdd(text) + "=8")
	}
	if !resourceName.MatchString(name) {
		return "", 0, hint("a name is " + acceptsResource)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > permit.MaxLimit {
		return "", 0, errNotAccepted
	}
	if name == server.HostResource && n == 0 {
		return "", 0, hint("that of host is at least 1")
	}
	return name, n, nil
}

// effective returns the resources with the limits that hold, sorted by name, and the one of the machine. limits is
// where the stronger limits came from.
func (p *permitSettings) effective(limits string) ([]resourceText, hostText) {
	all, host := slices.Clone(p.resources), p.host
	if host.Law == "" {
		host.Law = lawDefault
	}
	for _, entry := range p.limits {
		name, n, err := splitResourceLimit(entry)
		if err != nil {
			continue // it was checked when it was set
		}
		if name == server.HostResource {
			host.Law, host.Limit, host.where = lawFixed, n, limits
			continue
		}
		i := slices.IndexFunc(all, func(r resourceText) bool { return r.Name == name })
		if i < 0 {
			i = len(all)
			all = append(all, resourceText{Resource: permit.Resource{Name: name}})
		}
		all[i].Limit, all[i].where = n, limits
	}
	slices.SortFunc(all, func(a, b resourceText) int { return strings.Compare(a.Name, b.Name) })
	return all, host
}

// server returns what a server takes for the settings.
func (p *permitSettings) server() (server.PermitConfig, error) {
	config := p.config
	if config.StateDir == off {
		config.StateDir = ""
	}
	resources, host := p.effective("")
	for _, r := range resources {
		config.Resources = append(config.Resources, r.Resource)
	}
	config.Host = server.HostPermits{Default: host.Default, Grants: host.Grants, FloorRatio: host.FloorRatio}
	var errs []error
	law := func(text string) limit.Law {
		law, err := limit.Parse(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("permits: host: %w", err))
		}
		return law
	}
	switch host.Law {
	case lawDefault: // the server has it by itself
	case lawFixed:
		config.Host.Law = law(fmt.Sprintf("%s limit=%d", lawFixed, host.Limit))
	default:
		config.Host.Law = law(host.Law)
	}
	for _, text := range host.shadows {
		config.Host.Shadows = append(config.Host.Shadows, law(text))
	}
	if err := errors.Join(errs...); err != nil {
		return server.PermitConfig{}, err
	}
	for _, r := range host.severity {
		config.Host.Severity = append(config.Host.Severity, r.SeverityRule)
	}
	return config, nil
}

// conflicts reports settings that do not go together.
func (p *permitSettings) conflicts(add func(name, text, want string)) {
	if p.config.Heartbeat > p.config.TTL/3 {
		add("lease-heartbeat", formatDuration(p.config.Heartbeat),
			"want at most a third of lease-ttl, which is "+formatDuration(p.config.TTL))
	}
	seen := map[string]bool{}
	for _, entry := range p.limits {
		name, _, _ := strings.Cut(entry, "=")
		if seen[name] {
			add("resource", entry, "want each name once")
		}
		seen[name] = true
	}
	if resources, _ := p.effective(""); len(resources) > maxResources {
		add("resource", fmt.Sprintf("%d resources", len(resources)), fmt.Sprintf("want at most %d", maxResources))
	}
}

// maxResources is the server's bound.
const maxResources = 256

// acceptsRule says what parseSeverityRule accepts.
const acceptsRule = "cap N, cap N%, drain, cancel, or cancel after DURATION"

// parseSeverityRule parses what a severity level does: "cap 4", "cap 50%", "drain", "cancel" or "cancel after 30s".
func parseSeverityRule(text string) (server.SeverityRule, error) {
	words := strings.Fields(text)
	switch {
	case len(words) == 2 && words[0] == "cap":
		return parseCap(words[1])
	case len(words) == 1 && words[0] == "drain":
		return server.SeverityRule{Action: server.SeverityDrain}, nil
	case len(words) == 1 && words[0] == "cancel":
		return server.SeverityRule{Action: server.SeverityCancel}, nil
	case len(words) == 3 && words[0] == "cancel" && words[1] == "after":
		d, err := parseDuration(words[2])
		if err == nil && (d < 0 || d > time.Hour) {
			err = hint("the time is from 0s to 1h")
		}
		return server.SeverityRule{Action: server.SeverityCancel, CancelAfter: d}, err
	default:
		return server.SeverityRule{}, errNotAccepted
	}
}

func parseCap(text string) (server.SeverityRule, error) {
	rule := server.SeverityRule{Action: server.SeverityCap}
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		v, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(v > 0 && v <= 100) {
			return rule, hint("a percentage is over 0 and up to 100")
		}
		rule.Ratio = v / 100
		return rule, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > permit.MaxLimit {
		if v, err := strconv.ParseFloat(text, 64); err == nil && v > 0 && v < 1 {
			return rule, hint(fmt.Sprintf("%s of the limit is %s%%", text, strconv.FormatFloat(v*100, 'g', 6, 64)))
		}
		return rule, hint("a number is from 1 to 1000000000: a cap is never under 1")
	}
	rule.Limit = n
	return rule, nil
}

// formatSeverityRule prints a rule as parseSeverityRule reads it.
func formatSeverityRule(r server.SeverityRule) string {
	switch {
	case r.Action == server.SeverityCap && r.Limit > 0:
		return "cap " + strconv.FormatInt(r.Limit, 10)
	case r.Action == server.SeverityCap:
		return "cap " + strconv.FormatFloat(r.Ratio*100, 'f', -1, 64) + "%"
	case r.Action == server.SeverityCancel && r.CancelAfter > 0:
		return "cancel after " + formatDuration(r.CancelAfter)
	default:
		return r.Action.String()
	}
}

// checkIdentity accepts a name by which the server knows a caller.
func checkIdentity(name string) error {
	kind, rest, _ := strings.Cut(name, ":")
	switch {
	case name == defaultGrant || name == "loopback":
		return nil
	case kind == "uid":
		if n, err := strconv.ParseUint(rest, 10, 32); err != nil || strconv.FormatUint(n, 10) != rest {
			return hint("a uid is a number, as in uid:1000")
		}
		return nil
	case (kind == "token" || kind == "cert") && rest != "":
		return nil
	default:
		return errors.New("not an identity")
	}
}
