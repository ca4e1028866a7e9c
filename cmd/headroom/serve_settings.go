package main

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
)

// off switches a listener off.
const off = "off"

// serveSettings is what `headroom serve` can be told. A zero in snapshot or limits is the default.
type serveSettings struct {
	listen, socket, http       string
	insecure                   bool
	tlsCert, tlsKey, tlsClient string
	tokenFile                  string
	loopbackRole               server.Role
	certRoles                  []string // name=role
	drainTimeout               time.Duration
	logLevel                   slog.Level
	logFormat                  string
	host                       hostSettings
	snapshot                   snapshot.Config
	severity                   severitySettings
	permits                    permitSettings
	tasks                      server.TaskConfig
	diagnostics                diagnosticsSettings
	limits                     server.Limits
	maxReporters, maxSignals   int
}

// newServeSettings returns the settings that hold when nothing is given.
func newServeSettings() *serveSettings {
	socket := client.DefaultSocket()
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		socket = off // elsewhere the kernel does not say who connects to a socket
	}
	return &serveSettings{
		listen:       "127.0.0.1:7070",
		socket:       socket,
		http:         off,
		loopbackRole: server.RoleReader,
		drainTimeout: server.DefaultDrainTimeout,
		logLevel:     slog.LevelInfo,
		logFormat:    "text",
		host:         hostSettings{cgroup: ownCgroup},
		snapshot:     snapshot.Config{Scope: snapshot.ScopeHost},
		permits:      newPermitSettings(),
		tasks:        newTaskSettings(),
		diagnostics:  newDiagnosticsSettings(),
		limits:       defaultLimits(),
		maxReporters: defaultMaxReporters,
		maxSignals:   defaultMaxSignals,
	}
}

// table returns the settings, in the order of the help, bound to c.
func (c *serveSettings) table() []setting {
	var all []setting
	group := func(name string, settings []setting) {
		for _, s := range settings {
			s.group = name
			all = append(all, s)
		}
	}
	group("Listeners", c.listenerSettings())
	group("Callers", c.callerSettings())
	group("Host", c.host.settings())
	group("Snapshots", c.snapshotSettings())
	group("Judgement", c.judgementSettings())
	group("Permits", c.permitSettings())
	group("Tasks", c.taskSettings())
	group("Diagnostics", c.diagnostics.settings())
	group("Limits", limitSettings(&c.limits))
	group("Limits", c.reportSettings())
	group("Running", c.runningSettings())
	return all
}

func (c *serveSettings) listenerSettings() []setting {
	socket := textSetting("socket", "path", &c.socket, "an absolute path or off", checkSocket,
		"unix socket to listen on; off for none")
	socket.unset = "the first of $HEADROOM_SOCKET, /run/headroom/headroom.sock as root, $XDG_RUNTIME_DIR/headroom.sock and $TMPDIR/headroom-UID/headroom.sock"
	return []setting{
		textSetting("listen", "address", &c.listen, "host:port or off", checkAddress,
			"TCP address to listen on; off for none"),
		socket,
		textSetting("http", "address", &c.http, "host:port or off", checkAddress,
			"TCP address for /metrics, /healthz, /readyz and URLs of artifacts; off for none"),
		switchSetting("insecure", &c.insecure, "allow listening without TLS beyond loopback"),
		textSetting("tls-cert", "path", &c.tlsCert, "a path", nil, "certificate chain of the server, PEM"),
		textSetting("tls-key", "path", &c.tlsKey, "a path", nil, "private key of tls-cert, PEM"),
		textSetting("tls-client-ca", "path", &c.tlsClient, "a path", nil,
			"authorities that sign the clients' certificates, PEM; asks every client for one"),
	}
}

func (c *serveSettings) callerSettings() []setting {
	roles := make([]choice[server.Role], 0, 5)
	for r := server.RoleNone; r <= server.RoleOperator; r++ {
		roles = append(roles, choice[server.Role]{r.String(), r})
	}
	return []setting{
		choiceSetting("loopback-role", "role", &c.loopbackRole, roles,
			"role of a caller over loopback TCP without credentials"),
		listSetting("cert-role", "name=role", &c.certRoles,
			"a list of name=role, the role one of none, reader, worker, observer or operator", checkCertRole,
			"role of the client certificate with that URI SAN or subject"),
		textSetting("token-file", "path", &c.tokenFile, "a path", nil, "file of bearer tokens and their roles"),
	}
}

func (c *serveSettings) snapshotSettings() []setting {
	s := &c.snapshot
	interval := func(name string, p *time.Duration, what string) setting {
		return durationSetting(name, p, 50*time.Millisecond, time.Minute, "time between two snapshots of "+what)
	}
	available := ratioSetting("available-memory-ratio", &s.AvailableMemoryRatio,
		"share of the total memory that is the budget, while max-memory is 0")
	available.unset = "1; 0.25 in the crawlee profiles"
	errors := countSetting("max-client-errors", &s.MaxClientErrors, 1, math.MaxInt32,
		"new rate-limit errors (HTTP 429) over which a snapshot is overloaded")
	errors.unset = "1; 3 in profile crawlee-js"
	return []setting{
		choiceSetting("profile", "name", &s.Profile, []choice[snapshot.Profile]{
			{"headroom", snapshot.ProfileHeadroom},
			{"crawlee-python", snapshot.ProfileCrawleePython},
			{"crawlee-js", snapshot.ProfileCrawleeJS},
		}, "rules of judgement, see docs/profiles.md"),
		interval("cpu-interval", &s.CPUInterval, "the CPU"),
		interval("memory-interval", &s.MemoryInterval, "memory"),
		interval("event-loop-interval", &s.EventLoopInterval, "the event loop"),
		interval("client-interval", &s.ClientInterval, "client errors"),
		interval("pressure-interval", &s.PressureInterval, "pressure (PSI), of each of its three signals"),
		ratioSetting("max-cpu-ratio", &s.MaxCPURatio, "share of the CPU over which a snapshot is overloaded"),
		sizeSetting("max-memory", &s.MaxMemory, 0, math.MaxInt64,
			"memory budget; 0 is available-memory-ratio of the total"),
		available,
		ratioSetting("max-memory-ratio", &s.MaxMemoryRatio,
			"share of the budget over which a snapshot is overloaded"),
		ratioSetting("max-host-memory-ratio", &s.MaxHostMemoryRatio,
			"share of the host's memory over which a snapshot is overloaded, whatever the budget"),
		ratioSetting("reserve-memory-ratio", &s.ReserveMemoryRatio,
			"share of the budget above max-memory-ratio over which a warning is logged"),
		durationSetting("memory-warning-cooldown", &s.MemoryWarningCooldown, time.Second, time.Hour,
			"least time between two such warnings"),
		ratioSetting("max-cpu-pressure", &s.MaxCPUPressure,
			"share of the time in which some task waits for a CPU, over which a snapshot is overloaded"),
		ratioSetting("max-memory-pressure", &s.MaxMemoryPressure,
			"share of the time in which some task waits for memory, over which a snapshot is overloaded"),
		ratioSetting("max-io-pressure", &s.MaxIOPressure,
			"share of the time in which all tasks wait for I/O, over which a snapshot is overloaded"),
		durationSetting("max-event-loop-delay", &s.MaxEventLoopDelay, time.Millisecond, time.Minute,
			"delay over which a snapshot is overloaded"),
		switchSetting("always-probe", &s.AlwaysProbe,
			"keep the 10 ms prober of the event loop running, not only while load is suspected"),
		errors,
		countSetting("client-retry-index", &s.ClientRetryIndex, 1, 1000, "retry on which an error counts"),
		listSetting("disable", "signals", &s.Disabled, "a list of any of "+orList(disableable), checkSignal,
			"signals to leave out"),
	}
}

func (c *serveSettings) judgementSettings() []setting {
	s := &c.snapshot
	overload := func(signal string, p *float64) setting {
		return ratioSetting(signal+"-overload-ratio", p, "share of a window over which the signal is overloaded")
	}
	return []setting{
		durationSetting("history", &s.History, 5*time.Second, time.Hour,
			"how long snapshots are kept; the historical window"),
		durationSetting("current-window", &s.CurrentWindow, time.Second, time.Hour,
			"the current window; at most history"),
		overload("cpu", &s.CPUOverloadRatio),
		overload("memory", &s.MemoryOverloadRatio),
		overload("event-loop", &s.EventLoopOverloadRatio),
		overload("client", &s.ClientOverloadRatio),
		ratioSetting("pressure-overload-ratio", &s.PressureOverloadRatio,
			"share of a window over which each signal of pressure is overloaded"),
		choiceSetting("stale", "policy", &s.Stale, []choice[snapshot.StalePolicy]{
			{"hold", snapshot.StaleHold},
			{"ignore", snapshot.StaleIgnore},
			{"overloaded", snapshot.StaleOverloaded},
		}, "how a signal counts whose source fell silent: as it last did, then unknown; not at all; or overloaded"),
	}
}

func (c *serveSettings) runningSettings() []setting {
	return []setting{
		durationSetting("drain-timeout", &c.drainTimeout, time.Second, 10*time.Minute,
			"time that calls have to end after the first SIGTERM or SIGINT"),
		choiceSetting("log-level", "level", &c.logLevel, []choice[slog.Level]{
			{"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError},
		}, "least level that is logged, to standard error"),
		choiceSetting("log-format", "form", &c.logFormat, []choice[string]{{"text", "text"}, {"json", "json"}},
			"form of the log"),
	}
}

// builtIn are the built-in signals.
var builtIn = []string{
	snapshot.SignalCPU, snapshot.SignalMemory, snapshot.SignalEventLoop, snapshot.SignalClient,
	snapshot.SignalPressureCPU, snapshot.SignalPressureMemory, snapshot.SignalPressureIO,
}

// disableable are the signals that can be switched off.
var disableable = slices.Concat(builtIn, hostSignals)

func checkSignal(name string) error {
	if slices.Contains(disableable, name) {
		return nil
	}
	if near := nearest(name, disableable); near != "" {
		return hint("did you mean " + near + "?")
	}
	return errNotAccepted
}

func checkAddress(text string) error {
	if text == off {
		return nil
	}
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		if _, err := strconv.Atoi(text); err == nil {
			return hint("the host is missing, as in 127.0.0.1:" + text)
		}
		if _, err := netip.ParseAddr(text); err == nil || !strings.Contains(text, ":") && text != "" {
			return hint("the port is missing, as in " + net.JoinHostPort(text, "7070"))
		}
		return errNotAccepted
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return hint("a port from 0 to 65535")
	}
	return nil
}

func checkSocket(text string) error {
	if text == off || filepath.IsAbs(text) {
		return nil
	}
	if strings.HasPrefix(text, "unix:") {
		return hint("without unix:")
	}
	return errNotAccepted
}

func checkCertRole(text string) error {
	_, _, err := splitCertRole(text)
	return err
}

// splitCertRole splits name=role at the last '=': a subject holds some of its own.
func splitCertRole(text string) (string, server.Role, error) {
	i := strings.LastIndexByte(text, '=')
	if i < 1 {
		return "", 0, errNotAccepted
	}
	role, err := server.ParseRole(text[i+1:])
	if err != nil {
		return "", 0, hint(fmt.Sprintf("%q is no role", text[i+1:]))
	}
	return text[:i], role, nil
}

// fill replaces every zero by its default, so that what is shown is what holds.
func (c *serveSettings) fill() {
	c.snapshot = c.snapshot.WithDefaults()
	c.permits.fill()
}

// conflicts returns the faults of settings that do not go together.
func (c *serveSettings) conflicts(origin map[string]string) faults {
	var wrong faults
	add := func(name, text, want string) {
		where := origin[name]
		if where == "" {
			where = "default"
		}
		wrong = append(wrong, fault{where: where, name: name, text: text, want: want})
	}
	if c.listen == off && c.socket == off {
		add("listen", off, "want listen or socket, or nobody can call")
	}
	c.permits.conflicts(add)
	c.taskConflicts(add)
	c.diagnostics.conflicts(c.permits.config.StateDir, add)
	if s := &c.snapshot; s.CurrentWindow > s.History {
		add("current-window", formatDuration(s.CurrentWindow),
			fmt.Sprintf("want at most history, which is %s", formatDuration(s.History)))
	}
	switch {
	case c.tlsCert != "" && c.tlsKey == "":
		add("tls-cert", c.tlsCert, "want tls-key with it")
	case c.tlsKey != "" && c.tlsCert == "":
		add("tls-key", c.tlsKey, "want tls-cert with it")
	}
	if c.tlsClient != "" && c.tlsCert == "" {
		add("tls-client-ca", c.tlsClient, "want tls-cert and tls-key with it")
	}
	if len(c.certRoles) > 0 && c.tlsClient == "" {
		add("cert-role", joinList(c.certRoles), "want tls-client-ca with it")
	}
	if !c.insecure && c.tlsCert == "" && beyondLoopback(c.listen) {
		add("listen", c.listen, "want a loopback address, tls-cert and tls-key, or insecure")
	}
	if !c.insecure && beyondLoopback(c.http) {
		add("http", c.http, "want a loopback address, or insecure: it has no TLS")
	}
	return wrong
}

// beyondLoopback reports whether other machines could reach a listener on the address.
func beyondLoopback(address string) bool {
	if address == off {
		return false
	}
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host != "localhost" && (err != nil || !ip.IsLoopback())
}
