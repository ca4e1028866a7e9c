package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the version of this program; a release sets it by -ldflags "-X main.version=...".
var version = "0.1.0-dev"

// buildText describes this program: its version, the Go that built it, the system, and the revision of
// the source where the build knows it.
func buildText() string {
	text := fmt.Sprintf("headroom %s (%s, %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if revision := sourceRevision(); revision != "" {
		text += ", revision " + revision
	}
	return text + ")"
}

// sourceRevision names the revision of the source, or is empty where the build does not know it.
func sourceRevision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var revision, modified string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+modified"
			}
		}
	}
	if revision == "" {
		return ""
	}
	return revision + modified
}

func newVersion() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program, and of the server",
		Example: examples(
			"headroom version",
			"headroom version --server   # warns when the two do not fit",
		),
		Args: takes(cobra.NoArgs),
	}
	server := addServerFlags(cmd)
	var ask bool
	addFlag(cmd, switchSetting("server", &ask, "ask the server too"), "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w := cmd.OutOrStdout()
		if _, err := fmt.Fprintln(w, buildText()); err != nil || !ask {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), server.timeout)
		defer cancel()
		c, err := server.dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		s := c.Server()
		if _, err := fmt.Fprintf(w, "server %s at %s\n", clean(s.Version), clean(s.Address)); err != nil {
			return err
		}
		if skew := c.Skew(); skew != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "headroom: warning:", clean(skew))
		}
		return nil
	}
	return cmd
}
