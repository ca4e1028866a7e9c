package client

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
)

const modulePath = "github.com/headroom-rpc/headroom"

// develVersion is the version of a build from a checkout.
const develVersion = "(devel)"

// buildVersion returns the version of this module in the running program.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return develVersion
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path != modulePath {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Version != "" {
			return strings.TrimPrefix(m.Version, "v")
		}
	}
	return develVersion
}

// skew says how two versions differ, or returns "" if they do not or cannot be compared.
func skew(client, server string) string {
	c, ok := minor(client)
	if !ok {
		return ""
	}
	s, ok := minor(server)
	if !ok || s == c {
		return ""
	}
	return fmt.Sprintf("the server is version %s, the client %s", strings.TrimPrefix(server, "v"), strings.TrimPrefix(client, "v"))
}

// minor returns the major and minor number of a version such as 0.1.2 or v1.2.3-rc.1. It has none for a
// development build: one without numbers, or a commit before the first tag, which Go calls v0.0.0.
func minor(version string) ([2]int, bool) {
	core, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), "+")
	core, _, _ = strings.Cut(core, "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 || core == "0.0.0" {
		return [2]int{}, false
	}
	var n [3]int
	for i, p := range parts {
		var err error
		if n[i], err = strconv.Atoi(p); err != nil || n[i] < 0 {
			return [2]int{}, false
		}
	}
	return [2]int{n[0], n[1]}, true
}
