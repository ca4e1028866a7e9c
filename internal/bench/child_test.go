package bench

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/internal/loopback"
)

// roleEnv tells a re-executed test binary which child it is.
const roleEnv = "HEADROOM_BENCH_ROLE"

// roles are the children, by name. Each serves one line of standard input after the other until it ends.
var roles = map[string]func(p *peer) error{
	"server":         runServer,
	"load":           runLoad,
	"rawsend":        runRawSend,
	"rawreceive":     runRawReceive,
	"severityserver": runSeverityServer,
	"severityload":   runSeverityLoad,
}

func TestMain(m *testing.M) {
	role, ok := roles[os.Getenv(roleEnv)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := role(&peer{in: bufio.NewReader(os.Stdin), out: os.Stdout}); err != nil && err != io.EOF {
		fmt.Fprintln(os.Stderr, os.Getenv(roleEnv)+":", err)
		os.Exit(1)
	}
}

// A peer is the other end of a pair of pipes that carries lines of words.
type peer struct {
	in  *bufio.Reader
	out io.Writer
}

func (p *peer) send(words ...any) error {
	_, err := fmt.Fprintln(p.out, words...)
	return err
}

func (p *peer) receive() ([]string, error) {
	line, err := p.in.ReadString('\n')
	return strings.Fields(line), err
}

// ask sends one line and returns the numbers of the answer.
func (p *peer) ask(b testing.TB, words ...any) []int64 {
	b.Helper()
	if err := p.send(words...); err != nil {
		b.Fatalf("ask %v: %v", words, err)
	}
	return p.numbers(b)
}

func (p *peer) numbers(b testing.TB) []int64 {
	b.Helper()
	answer, err := p.receive()
	if err != nil {
		b.Fatalf("child ended: %v", err)
	}
	numbers := make([]int64, len(answer))
	for i, word := range answer {
		if numbers[i], err = strconv.ParseInt(word, 10, 64); err != nil {
			b.Fatalf("child said %q", answer)
		}
	}
	return numbers
}

// start runs the test binary as the named child until stop is called.
func start(b testing.TB, role string) (child *peer, stop func()) {
	b.Helper()
	loopback.Need(b) // by which most of them are reached
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stop = func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("%s: %v", role, err)
		}
	}
	return &peer{in: bufio.NewReader(out), out: in}, stop
}
