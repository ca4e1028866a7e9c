package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"

	pprofile "github.com/google/pprof/profile"

	"github.com/headroom-rpc/headroom/internal/loopback"
)

// hostileProfile returns a profile whose names are markup, escapes and paths.
func hostileProfile(t testing.TB) []byte {
	t.Helper()
	f := &pprofile.Function{ID: 1, Name: `</script><script>alert(1)</script>`, Filename: "/etc/passwd", SystemName: "\x1b[2J"}
	m := &pprofile.Mapping{ID: 1, Start: 1, Limit: 1 << 20, File: "/bin/sh; touch owned", BuildID: "../../x"}
	l := &pprofile.Location{ID: 1, Mapping: m, Address: 2, Line: []pprofile.Line{{Function: f, Line: 1}}}
	p := &pprofile.Profile{
		SampleType: []*pprofile.ValueType{{Type: `"><img src=x onerror=alert(1)>`, Unit: "count"}},
		Sample:     []*pprofile.Sample{{Location: []*pprofile.Location{l}, Value: []int64{1}}},
		Location:   []*pprofile.Location{l}, Function: []*pprofile.Function{f}, Mapping: []*pprofile.Mapping{m},
		Comments: []string{"<b>comment</b>"},
	}
	var text bytes.Buffer
	if err := p.Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

func packed(text []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(text)
	_ = w.Close()
	return b.Bytes()
}

// Bombs are refused for no more than a few times the memory of the largest profile that is shown, whatever they would
// inflate to. The race detector makes inflating tens of times slower; with it the bound is a smaller one.
func TestParseProfileRefusesBombs(t *testing.T) {
	most := maxShownBytes
	if raceDetector {
		most = 1 << 20
	}
	var real bytes.Buffer
	if err := pprof.Lookup("heap").WriteTo(&real, 0); err != nil {
		t.Fatal(err)
	}
	if p, err := parseProfile(real.Bytes(), most); err != nil || p == nil {
		t.Errorf("a real profile: %v", err)
	}
	stringIndex := []byte{0x12, 0x06, 0x0a, 0x04, 0x08, 0xff, 0xff, 0xff} // torn in a varint
	hugeIndex := []byte{0x0a, 0x06, 0x08, 0xff, 0xff, 0xff, 0xff, 0x07}   // a sample type with string 2^31-1
	zeros := packed(make([]byte, most+1))
	// 10 MiB that inflate to 10 GiB: one stream after the other, as gzip allows.
	member := packed(make([]byte, 1<<20))
	nested := packed(zeros)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for name, text := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "torn": real.Bytes()[:real.Len()/2], "one byte too many": zeros, "a bomb in a bomb": nested,
		"10 GiB": bytes.Repeat(member, 10<<10), "torn varint": stringIndex, "string index": hugeIndex, "not gzip": {0x1f, 0x8b, 0, 0},
	} {
		if p, err := parseProfile(text, most); err == nil {
			t.Errorf("%s: parsed as %v", name, p)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > uint64(16*most)+16<<20 {
		t.Errorf("%d MiB were allocated", used>>20)
	}
}

func TestProfileIsShownSafely(t *testing.T) {
	loopback.Need(t)
	p, err := parseProfile(hostileProfile(t), maxShownBytes)
	if err != nil {
		t.Fatal(err)
	}
	handlers, err := profileHandlers(p)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(nil)
	srv.Config.Handler = guarded(handlers, "/secret", srv.Listener.Addr().String())
	srv.Start()
	defer srv.Close()
	get := func(path, host, origin string) (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body), resp.Header
	}
	for _, path := range []string{"/flamegraph", "/top", "/peek?f=.", "/top?si=%3Cscript%3E"} {
		code, body, header := get("/secret"+path, "", "")
		if path != "/top?si=%3Cscript%3E" && (code != http.StatusOK || !strings.Contains(body, "alert(1)")) {
			t.Errorf("%s: %d, and the function is not in it", path, code)
		}
		for _, raw := range []string{"</script><script>alert", "<img src=x", "<b>comment", "root:x:0"} {
			if strings.Contains(body, raw) && !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
				t.Errorf("%s holds %q as it is", path, raw)
			}
		}
		if csp := header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("%s may load anything: %q", path, csp)
		}
	}
	for _, path := range []string{
		"/flamegraph", "/", "/secret/", "/secret/source?f=.", "/secret/disasm?f=.", "/secret/graph", "/secret/download",
		"/secret/saveconfig?config=x", "/secret/deleteconfig?config=x", "/secret/../secret/source",
	} {
		if code, _, _ := get(path, "", ""); code != http.StatusNotFound && code/100 != 3 {
			t.Errorf("%s: %d, want not found", path, code)
		}
	}
	if code, _, _ := get("/secret/flamegraph", "evil.example", ""); code != http.StatusForbidden {
		t.Errorf("by another name: %d, want forbidden", code)
	}
	if code, _, _ := get("/secret/flamegraph", "", "http://evil.example"); code != http.StatusForbidden {
		t.Errorf("for a page of another site: %d, want forbidden", code)
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add(hostileProfile(f))
	f.Add([]byte{0x0a, 0x06, 0x08, 0xff, 0xff, 0xff, 0xff, 0x07})
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseProfile(text, maxShownBytes)
		if err == nil && p == nil {
			t.Error("neither a profile nor an error")
		}
	})
}

func TestSplitPython(t *testing.T) {
	for text, want := range map[string]string{
		"-u -W ignore p.py -x a":   "-u -W ignore|p.py -x a",
		"-m http.server 80":        "|-m http.server 80",
		"-X dev -c print(1) -m":    "-X dev|-c print(1) -m",
		"-W":                       "-W|",
		"":                         "|",
		"-":                        "|-",
		"--check-hash always p.py": "--check-hash|always p.py",
	} {
		options, program := splitPython(strings.Fields(text))
		if got := strings.Join(options, " ") + "|" + strings.Join(program, " "); got != want {
			t.Errorf("%q is split as %q, want %q", text, got, want)
		}
	}
}
