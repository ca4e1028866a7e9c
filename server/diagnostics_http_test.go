package server_test

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/internal/loopback"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// get asks over HTTP and returns the answer with its body.
func get(t *testing.T, url, token string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
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
	return resp, string(body)
}

func TestProfileArtifactURLs(t *testing.T) {
	loopback.Need(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + lis.Addr().String()
	const ownerToken, otherToken, readerToken = "owner-0123456789abcdef", "other-0123456789abcdef", "reader-0123456789abcdef"
	token := func(name string, role server.Role, text string) server.Token {
		return server.Token{Name: name, Role: role, SHA256: sha256.Sum256([]byte(text))}
	}
	owner := aWorker("token:owner")

	r := &recorded{dir: t.TempDir()}
	r.fixture = start(t, settings{identity: owner, server: func(c *server.Config) {
		c.HTTP = lis
		c.Diagnostics = server.DiagnosticsConfig{Allow: all, Dir: r.dir}
		c.Access.Tokens = []server.Token{token("owner", server.RoleWorker, ownerToken), token("other", server.RoleWorker, otherToken),
			token("reader", server.RoleReader, readerToken)}
	}})
	client := headroomv1.NewDiagnosticsServiceClient(r.conn)
	await(t, func() bool {
		_, err := client.ListArtifacts(t.Context(), &headroomv1.ListArtifactsRequest{})
		return err == nil
	})
	list := base + "/tasks/crawl%207/profile_artifacts/"
	if _, body := get(t, list, ownerToken); strings.TrimSpace(body) != `{"urls":{}}` {
		t.Errorf("of a task without artifacts: %s", body)
	}
	const datum = "# Seconds\tMemory in MB\n0.000\t1.000\n2.000\t2.000\n"
	if _, err := upload(t.Context(), client, &headroomv1.UploadStart{TaskId: "crawl 7", Recorder: "memory_profile"}, "# Seconds old\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := upload(t.Context(), client, &headroomv1.UploadStart{TaskId: "crawl 7", Recorder: "memory_profile"}, datum); err != nil {
		t.Fatal(err)
	}
	mustUpload(t, client, "crawl 7", "evil.html", "<script>alert(1)</script>")
	urls := func(query, token string) map[string]string {
		t.Helper()
		resp, body := get(t, list+query, token)
		var answer struct{ URLs map[string]string }
		if err := json.Unmarshal([]byte(body), &answer); err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%v: %s", resp.Status, body)
		}
		return answer.URLs
	}
	for name, tt := range map[string]struct {
		token string
		code  int
	}{"none": {"", 401}, "wrong": {"wrong-0123456789abcdef", 401}, "reader": {readerToken, 403}} {
		if resp, body := get(t, list, tt.token); resp.StatusCode != tt.code {
			t.Errorf("token %s: %v %s, want %d", name, resp.Status, body, tt.code)
		}
	}
	if got := urls("", otherToken); len(got) != 0 {
		t.Errorf("another's token gets %v", got)
	}
	if _, body := get(t, list, ownerToken); strings.Contains(body, `\u0026`) {
		t.Errorf("nobody can copy a URL of %s", body)
	}
	own := urls("", ownerToken)
	if len(own) != 2 || !strings.HasPrefix(own["memory_profile"], base+"/artifacts/") {
		t.Fatalf("the urls are %v", own)
	}
	resp, body := get(t, own["memory_profile"], "")
	if resp.StatusCode != http.StatusOK || body != datum || !strings.Contains(resp.Header.Get("Content-Disposition"), `filename="memory.datum"`) {
		t.Errorf("the memory log is %v %q, %v", resp.Status, body, resp.Header)
	}
	if resp, body := get(t, own["memory_profile"], "", "Range", "bytes=2-8"); resp.StatusCode != http.StatusPartialContent || body != "Seconds" {
		t.Errorf("a range of it is %v %q", resp.Status, body)
	}
	if resp, body := get(t, own["evil.html"], ""); !strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment") ||
		resp.Header.Get("Content-Type") != "application/octet-stream" || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "sandbox") || len(body) == 0 {
		t.Errorf("a page that a worker made is served as %v", resp.Header)
	}
	shown := urls("?form=svg", ownerToken)
	if len(shown) != 1 {
		t.Errorf("as plots there are %v", shown)
	}
	if resp, body := get(t, shown["memory_profile"], ""); resp.Header.Get("Content-Type") != "image/svg+xml" || !strings.HasPrefix(body, "<svg") {
		t.Errorf("the plot is %v %.40q", resp.Header, body)
	}
	for _, text := range []string{datum, "# Seconds\tMemory in MB\n0.000\t3.000\n"} {
		start := &headroomv1.UploadStart{TaskId: "crawl 7", RunId: "restarted", Recorder: "memory_profile", Continues: text != datum}
		if _, err := upload(t.Context(), client, start, text); err != nil {
			t.Fatal(err)
		}
	}
	parts := urls("", ownerToken)
	if len(parts) != 4 {
		t.Errorf("of a recording in two parts there is %v", parts)
	}
	for name, want := range map[string]string{"memory_profile": "3.000", "memory_profile#0": "2.000", "memory_profile#1": "3.000"} {
		if _, body := get(t, parts[name], ""); !strings.HasSuffix(body, want+"\n") {
			t.Errorf("%s leads to %q, want that which ends with %s", name, body, want)
		}
	}
	if resp, _ := get(t, parts["memory_profile#1"], ""); !strings.Contains(resp.Header.Get("Content-Disposition"), `"memory.1.datum"`) {
		t.Errorf("the second part is a file %s", resp.Header.Get("Content-Disposition"))
	}
	if resp, _ := get(t, list+"?form=exe", ownerToken); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("an unknown form: %v", resp.Status)
	}
	for _, forged := range []string{
		own["memory_profile"] + "0", own["memory_profile"] + "&x=1", strings.Replace(own["memory_profile"], "form=", "form=svg", 1),
		base + "/artifacts/", base + "/artifacts/" + strings.Repeat("A", 26), base + "/artifacts/%2e%2e%2fmanifests",
		strings.Replace(own["memory_profile"], "/artifacts/", "/artifacts%2F", 1),
	} {
		if resp, body := get(t, forged, ownerToken); resp.StatusCode < 300 || strings.Contains(body, "Memory") {
			t.Errorf("%s: %v %q", forged, resp.Status, body)
		}
	}
	if _, err := os.Stat(r.dir); err != nil {
		t.Fatal(err)
	}
	for _, a := range listAll(t, client) {
		if _, err := client.DeleteArtifact(t.Context(), &headroomv1.DeleteArtifactRequest{ArtifactId: a.GetArtifactId()}); err != nil {
			t.Fatal(err)
		}
	}
	if resp, _ := get(t, own["memory_profile"], ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("after it was deleted: %v", resp.Status)
	}
}

func listAll(t *testing.T, client headroomv1.DiagnosticsServiceClient) []*headroomv1.Artifact {
	t.Helper()
	return list(t, client, &headroomv1.ListArtifactsRequest{})
}
