package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/pprof/driver"
	pprofile "github.com/google/pprof/profile"
	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/diagnostics"
)

// The bounds of a profile that is shown: a small file can stand for a huge one.
const (
	maxShownBytes   = 64 << 20 // as it is stored, and as it is inflated
	maxShownSamples = 1_000_000
)

func newArtifactsOpen() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "open ID",
		Short: "Show a profile or a memory log in the browser",
		Long: `Show a profile in the pprof format as a flame graph, or a memory log as a plot,
in a browser of this machine: until Ctrl-C it is served on loopback, under a
path that nobody can guess. Nothing that a profile names is opened or run.`,
		Example: examples(
			"headroom artifacts open ABCDEFGHIJKLMNOPQRSTUVWXYZ",
			"headroom artifacts open --port 8080 ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		),
		Args: oneID(false),
	}
	server, port := addServerFlags(cmd), 0
	addFlag(cmd, countSetting("port", &port, 0, 65535, "port on loopback; 0 is any that is free"), "")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var handlers map[string]http.Handler
		server.timeout = max(server.timeout, time.Minute)
		err := server.dialed(cmd.Context(), func(ctx context.Context, c *client.Client) (err error) {
			handlers, err = shownArtifact(ctx, c, args[0])
			return err
		})
		if err != nil {
			return err
		}
		return showHandlers(cmd.Context(), handlers, port, cmd.OutOrStdout())
	}
	return cmd
}

// A boundedBuffer takes at most so many bytes.
type boundedBuffer struct {
	bytes.Buffer
	most int
}

var errTooLargeToShow = errors.New("the artifact is too large to be shown: get it instead")

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.most {
		return 0, &exitError{exitFailure, errTooLargeToShow}
	}
	return b.Buffer.Write(p)
}

// shownArtifact returns what shows the artifact, by path.
func shownArtifact(ctx context.Context, c *client.Client, id string) (map[string]http.Handler, error) {
	content := &boundedBuffer{most: maxShownBytes}
	a, err := c.Download(ctx, id, client.FormStored, 0, content)
	if err != nil {
		return nil, err
	}
	if a.Recorder == diagnostics.RecorderMemory {
		log, err := diagnostics.ParseMemoryLog(content.Bytes())
		if err != nil {
			return nil, &exitError{exitFailure, err}
		}
		return pictureHandlers(log.SVG("memory of " + a.Task)), nil
	}
	p, err := parseProfile(content.Bytes(), maxShownBytes)
	if err != nil {
		return nil, &exitError{exitFailure, fmt.Errorf("%s is no profile in the pprof format: %w; get it instead", clean(a.Name), err)}
	}
	return profileHandlers(p)
}

// parseProfile parses a profile that may be anything, of at most so many bytes when it is inflated.
func parseProfile(text []byte, most int) (p *pprofile.Profile, err error) {
	defer func() {
		if r := recover(); r != nil { // of a parser that trusts what it reads
			p, err = nil, fmt.Errorf("%v", r)
		}
	}()
	if len(text) > 2 && text[0] == 0x1f && text[1] == 0x8b {
		packed, err := gzip.NewReader(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		if text, err = io.ReadAll(io.LimitReader(packed, int64(most)+1)); err != nil {
			return nil, err
		}
	}
	if len(text) > most {
		return nil, fmt.Errorf("it has more than %d bytes", most)
	}
	if p, err = pprofile.ParseUncompressed(text); err != nil {
		return nil, err
	}
	if len(p.Sample) > maxShownSamples {
		return nil, fmt.Errorf("it has %d samples, more than %d", len(p.Sample), maxShownSamples)
	}
	return p, p.CheckValid()
}

// shownPaths are the views of pprof that look at the profile alone. The others read the files that it names, run
// other programs, or write to the user's files.
var shownPaths = []string{"/flamegraph", "/top", "/peek"}

// profileHandlers returns what shows the profile.
func profileHandlers(p *pprofile.Profile) (map[string]http.Handler, error) {
	var handlers map[string]http.Handler
	err := driver.PProf(&driver.Options{
		Flagset: newPprofFlags("-http=127.0.0.1:0", "-no_browser", "-symbolize=none", "artifact"),
		Fetch:   fetched{p},
		Sym:     unsymbolized{},
		Obj:     noFiles{},
		UI:      silent{},
		HTTPServer: func(args *driver.HTTPServerArgs) error {
			handlers = make(map[string]http.Handler)
			for _, path := range shownPaths {
				if h := args.Handlers[path]; h != nil {
					handlers[path] = h
				}
			}
			return nil
		},
	})
	if err == nil && len(handlers) != len(shownPaths) {
		err = errors.New("this version of pprof cannot show it")
	}
	return handlers, err
}

// pictureHandlers shows a picture.
func pictureHandlers(picture []byte) map[string]http.Handler {
	return map[string]http.Handler{"/flamegraph": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/svg+xml")
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		_, _ = w.Write(picture) // the reader may be gone
	})}
}

// showHandlers serves on loopback until Ctrl-C.
func showHandlers(ctx context.Context, handlers map[string]http.Handler, port int, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	lis, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return &exitError{exitFailure, err}
	}
	secret := "/" + strings.ToLower(rand.Text())
	srv := &http.Server{
		Handler: guarded(handlers, secret, lis.Addr().String()), ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout: 5 * time.Second, WriteTimeout: time.Minute,
	}
	fmt.Fprintf(stdout, "http://%s%s/flamegraph\n", lis.Addr(), secret)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	select {
	case err := <-served:
		return &exitError{exitFailure, err}
	case <-ctx.Done():
		_ = srv.Close() // nothing is left to be done about an error
		return nil
	}
}

// guarded serves the handlers below the secret path, and only to who names the address: neither another user of this
// machine nor a page of another site gets at them.
func guarded(handlers map[string]http.Handler, secret, address string) http.Handler {
	mux := http.NewServeMux()
	for path, h := range handlers {
		mux.Handle("GET "+secret+path, http.StripPrefix(secret, unharmed(h)))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("X-Frame-Options", "DENY")
		// The pages of pprof hold their scripts and styles; they may load nothing, and send nothing anywhere.
		w.Header().Set("Content-Security-Policy",
			"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; form-action 'none'")
		if r.Host != address || r.Header.Get("Origin") != "" && r.Header.Get("Sec-Fetch-Site") != "same-origin" {
			http.Error(w, "not for pages of other sites", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// unharmed keeps a view that panics from ending the program.
func unharmed(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if fault := recover(); fault != nil {
				http.Error(w, "the profile cannot be shown: "+html.EscapeString(fmt.Sprint(fault)), http.StatusInternalServerError)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

// fetched is the profile that pprof shows.
type fetched struct{ p *pprofile.Profile }

// Fetch returns the profile.
func (f fetched) Fetch(string, time.Duration, time.Duration) (*pprofile.Profile, string, error) {
	return f.p, "artifact", nil
}

// unsymbolized leaves a profile as it is.
type unsymbolized struct{}

// Symbolize does nothing.
func (unsymbolized) Symbolize(string, driver.MappingSources, *pprofile.Profile) error { return nil }

// noFiles opens nothing that a profile names.
type noFiles struct{}

var errNoFiles = errors.New("files that a profile names are not opened")

// Open returns an error.
func (noFiles) Open(string, uint64, uint64, uint64, string) (driver.ObjFile, error) {
	return nil, errNoFiles
}

// Disasm returns an error.
func (noFiles) Disasm(string, uint64, uint64, bool) ([]driver.Inst, error) { return nil, errNoFiles }

// silent is a user who is not asked.
type silent struct{}

// ReadLine returns that there is no input.
func (silent) ReadLine(string) (string, error) { return "", io.EOF }

// Print prints nothing.
func (silent) Print(...any) {}

// PrintErr prints nothing.
func (silent) PrintErr(...any) {}

// IsTerminal returns false.
func (silent) IsTerminal() bool { return false }

// WantBrowser returns false.
func (silent) WantBrowser() bool { return false }

// SetAutoComplete does nothing.
func (silent) SetAutoComplete(func(string) string) {}

// pprofFlags is the command line of pprof.
type pprofFlags struct {
	*flag.FlagSet
	args []string
}

func newPprofFlags(args ...string) *pprofFlags {
	return &pprofFlags{flag.NewFlagSet("pprof", flag.ContinueOnError), args}
}

// StringList defines a flag that stands once.
func (f *pprofFlags) StringList(name, def, usage string) *[]*string {
	return &[]*string{f.String(name, def, usage)}
}

// ExtraUsage returns none.
func (f *pprofFlags) ExtraUsage() string { return "" }

// AddExtraUsage does nothing.
func (f *pprofFlags) AddExtraUsage(string) {}

// Parse parses the arguments that it was made with.
func (f *pprofFlags) Parse(usage func()) []string {
	if err := f.FlagSet.Parse(f.args); err != nil {
		usage()
	}
	return f.Args()
}
