package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/client"
)

// A screen is an emulated terminal with the master of a pseudo-terminal behind it, on which a process runs.
type screen struct {
	t       *testing.T
	master  *os.File
	process *exec.Cmd
	before  *unix.Termios // of the terminal

	mu      sync.Mutex
	vt      *vt.Emulator
	changed chan struct{} // of capacity 1
}

// openPseudoTerminal returns both ends of a pseudo-terminal, which the caller closes.
func openPseudoTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	return master, slave
}

// startOnScreen runs a command on a terminal of a size.
func startOnScreen(t *testing.T, cmd *exec.Cmd, width, height int) *screen {
	t.Helper()
	master, slave := openPseudoTerminal(t)
	defer slave.Close()
	s := &screen{t: t, master: master, process: cmd, vt: vt.NewEmulator(width, height), changed: make(chan struct{}, 1)}
	s.resize(width, height)
	s.before = s.modes()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var copying sync.WaitGroup
	copying.Go(func() { _, _ = io.Copy(s, master) }) // until the last process on it has ended
	copying.Go(func() { _, _ = io.Copy(master, s.vt) })
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		_ = s.vt.InputPipe().(io.Closer).Close()
		master.Close()
		copying.Wait()
	})
	return s
}

// Write lets the terminal show what the process printed.
func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.vt.Write(text)
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return n, err
}

func (s *screen) resize(width, height int) {
	s.t.Helper()
	s.mu.Lock()
	s.vt.Resize(width, height)
	s.mu.Unlock()
	size := &unix.Winsize{Col: uint16(width), Row: uint16(height)}
	if err := unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, size); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) modes() *unix.Termios {
	s.t.Helper()
	modes, err := unix.IoctlGetTermios(int(s.master.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return modes
}

// text returns the lines that the terminal shows, as many as it is high.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for y := range s.vt.Height() {
		var line strings.Builder
		for x := range s.vt.Width() {
			if c := s.vt.CellAt(x, y); c != nil {
				line.WriteString(c.Content)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// await waits until the screen matches all patterns.
func (s *screen) await(patterns ...string) {
	s.t.Helper()
	s.awaitFor(patience, patterns...)
}

func (s *screen) awaitFor(longest time.Duration, patterns ...string) {
	s.t.Helper()
	late := time.NewTimer(longest)
	defer late.Stop()
	for {
		text, missing := s.text(), ""
		for _, p := range patterns {
			if !regexp.MustCompile("(?m)" + p).MatchString(text) {
				missing = p
			}
		}
		if missing == "" {
			return
		}
		select {
		case <-s.changed:
		case <-late.C:
			s.t.Fatalf("no %s on the screen:\n%s", missing, text)
		}
	}
}

// press sends what the keys send.
func (s *screen) press(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// ends waits for the end of the process and checks how it left the terminal.
func (s *screen) ends(want string) {
	s.t.Helper()
	slow := time.AfterFunc(patience, func() { _ = s.process.Process.Kill() })
	defer slow.Stop()
	if got := outcome(s.process.Wait()); got != want {
		s.t.Errorf("ended with %s, want %s:\n%s", got, want, s.text())
	}
	if after := s.modes(); *after != *s.before {
		s.t.Errorf("left the terminal in modes %+v, want %+v", after, s.before)
	}
}

// leaves waits until the terminal shows again what it did before.
func (s *screen) leaves() {
	s.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		s.mu.Lock()
		left := !s.vt.IsAltScreen()
		s.mu.Unlock()
		if left {
			return
		}
		select {
		case <-s.changed:
		case <-late.C:
			s.t.Fatalf("the alternate screen is still shown:\n%s", s.text())
		}
	}
}

// styled counts the cells that do not look like plain text.
func (s *screen) styled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for y := range s.vt.Height() {
		for x := range s.vt.Width() {
			if c := s.vt.CellAt(x, y); c != nil && !c.Style.IsZero() {
				n++
			}
		}
	}
	return n
}

// A topServer is `headroom serve` on a socket of its own.
type topServer struct {
	t      *testing.T
	socket string
	cmd    *exec.Cmd
}

func (s *topServer) command(environment []string, args ...string) *exec.Cmd {
	s.t.Helper()
	path, err := exec.LookPath("headroom")
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "HEADROOM_ADDR=unix://"+s.socket, "HEADROOM_SOCKET="+s.socket, "HEADROOM_LISTEN=127.0.0.1:0",
		"HEADROOM_CONFIG=", "HEADROOM_STATE_DIR=off", "HEADROOM_RESOURCE=api=2", "TERM=xterm-256color", "NO_COLOR=",
		"CLICOLOR_FORCE=", "SSH_TTY=", "TERM_PROGRAM=", "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, environment...)
	return cmd
}

// start starts the server and waits until it serves.
func (s *topServer) start() {
	s.t.Helper()
	s.cmd = s.command(nil, "serve")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	slow := time.AfterFunc(patience, s.kill)
	defer slow.Stop()
	lines := bufio.NewScanner(log)
	var said bytes.Buffer
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if strings.Contains(lines.Text(), "listener=tcp") {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return
		}
	}
	s.t.Fatalf("the server does not serve:\n%s", said.String())
}

func (s *topServer) kill() { _ = s.cmd.Process.Kill() }

func (s *topServer) stop() {
	s.kill()
	_ = s.cmd.Wait()
}

func startTopServer(t *testing.T) *topServer {
	t.Helper()
	dir, err := os.MkdirTemp("", "top") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &topServer{t: t, socket: filepath.Join(dir, "h.sock")}
	s.start()
	t.Cleanup(s.stop)
	return s
}

// work holds a permit and registers a task.
func (s *topServer) work() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	c, err := client.Dial(ctx, client.WithAddress("unix://"+s.socket))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if _, err := c.RegisterTask(ctx, client.TaskConfig{
		Name: "crawler \u202e数据", Processes: []client.TaskProcess{{Name: "main", PID: os.Getpid()}},
	}); err != nil {
		s.t.Fatal(err)
	}
}

// What people do with top, on a real pseudo-terminal against a real server.
func TestTopOnATerminal(t *testing.T) {
	server := startTopServer(t)
	server.work()
	top := startOnScreen(t, server.command(nil, "top"), 80, 24)
	const keys = `^q quit  \? help  w why`
	top.await(`\Aheadroom  (idle|overloaded|unknown).* \d\d:\d\d:\d\d$`, `^cpu +\d`, `^memory +[\d.]+%`, `^severity   [0-9] of 3`, `^why `,
		`^>PERMITS +LIMIT`, `^>api +2 `, `^ host `, `^ TASKS +CPU`, `^ crawler \x{FFFD}数据 +`, keys)
	if top.styled() == 0 {
		t.Errorf("no colours on\n%s", top.text())
	}
	top.press("\t") // tab
	top.await(`^>TASKS`, `^>crawler`, `^ PERMITS`, `sort: cpu↓`)
	top.press("sr")
	top.await(`sort: memory↑`)
	top.press("/nobody")
	top.await(`^/nobody`)
	top.press("\r") // enter
	top.await(`^>TASKS /nobody`, keys)
	if text := top.text(); strings.Contains(text, "\n>crawler") {
		t.Errorf("a task that the filter leaves out is shown:\n%s", text)
	}
	top.press("\x1b") // escape
	top.await(`^>crawler`)
	top.press("?")
	top.await(`^tab, left, right `, `^esc back`)
	top.press("w")
	top.await(`^SIGNAL +STATE +TIME OVER +LIMIT +VALUE +BOUND +AGE`, `^level +\d of 3`, `^process main \(pid \d+\): `)
	top.press("\x1b")
	top.await(`^>crawler`)
	top.press("\x1b[A\x1b[B\x1b[Z") // up, down, shift and tab
	top.await(`^>PERMITS`, `^>api`)

	for _, size := range [][2]int{{60, 15}, {200, 50}, {20, 4}, {80, 24}} {
		top.resize(size[0], size[1])
		cpu := `^cpu +\d`
		if size[0] < 60 {
			cpu = `^cpu ` // of a short value nothing is left
		}
		top.await(`\Aheadroom.*\n(.*\n){`+fmt.Sprint(size[1]-2)+`}q quit`, cpu)
	}

	server.stop()
	top.await(`\Aheadroom  stale, nothing for \d+s: `, `^cpu +[\d.]+%\?`)
	server.start()
	top.await(`\Aheadroom  (idle|overloaded|unknown)`, `^>api +2 `)
	top.press("q")
	top.ends("0")
	top.leaves()
}

func TestTopLeavesTheTerminalAsItWas(t *testing.T) {
	server := startTopServer(t)
	for name, end := range map[string]func(*screen){
		"by a signal": func(s *screen) {
			if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		},
		"by ctrl-c": func(s *screen) { s.press("\x03") },
	} {
		t.Run(name, func(t *testing.T) {
			top := startOnScreen(t, server.command([]string{"NO_COLOR=1"}, "top"), 80, 24)
			top.await(`^cpu +\d`, `^>api`)
			if n := top.styled(); n > 0 {
				t.Errorf("%d cells are styled with NO_COLOR:\n%s", n, top.text())
			}
			end(top)
			top.ends("0")
			top.leaves()
		})
	}
	dumb := startOnScreen(t, server.command([]string{"TERM=dumb"}, "top"), 80, 24)
	dumb.ends("64")
	dumb.await("a dumb terminal cannot be drawn on; --once prints one frame")
}

// The progress of run takes less than a row of a narrow terminal: of one that wraps only the last row would be erased.
func TestProgressOnANarrowTerminal(t *testing.T) {
	master, slave := openPseudoTerminal(t)
	defer master.Close()
	defer slave.Close()
	p := newProgress(slave, func() progressState { return progressState{done: 123, total: 456, all: true} })
	shown := bufio.NewReader(master)
	for _, width := range []uint16{20, 1} {
		if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: 24}); err != nil {
			t.Fatal(err)
		}
		p.show()
		fmt.Fprintln(slave)
		got, err := shown.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if want := eraseLine + "123 of 456 done, 0 running"[:width-1] + "\r\n"; got != want {
			t.Errorf("at %d columns %q, want %q", width, got, want)
		}
	}
}
