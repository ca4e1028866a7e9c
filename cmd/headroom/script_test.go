//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/internal/loopback"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == watchdogArg {
		os.Exit(beWatchdog()) // of a test that starts one
	}
	open, _ := os.ReadDir("/dev/fd")
	for _, entry := range open { // what whoever runs the tests has open is not counted by what they start
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	commands := map[string]func(){"headroom": main, "unwatched": unwatched}
	if _, command := commands[filepath.Base(os.Args[0])]; !command {
		if dir := os.Getenv("GOTMPDIR"); dir != "" {
			_ = os.Setenv("TMPDIR", dir) // from others nothing may be run, perhaps
		}
		if len(os.TempDir()) > 40 {
			_ = os.Setenv("TMPDIR", "/tmp") // the name of a socket has 107 bytes at most
		}
	}
	unix.Umask(unix.Umask(0) | 0o022)            // settings and tokens that others may write are refused, and scripts write some
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // under -race each process would linger for a second
	// Most tests wait for processes: one a core would leave the cores idle. -parallel still has the last word.
	if err := flag.Set("test.parallel", strconv.Itoa(4*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	testscript.Main(m, commands)
}

// unwatched runs a command as `headroom run` does, but without permits and without a watchdog.
func unwatched() {
	path, err := findCommand(os.Args[1])
	if err == nil {
		var c *child
		if c, err = startIn(nil, path, os.Args[1:], os.Environ()); err == nil {
			err = c.supervise(context.Background(), nil, time.Second, os.Stderr)
		}
	}
	os.Exit(finish(os.Stderr, err))
}

// TestScripts drives the real program as processes of their own. Besides the commands of testscript there are
//
//	start NAME PROGRAM ARG...      starts a process; its output goes to NAME.out
//	await NAME REGEXP [VARIABLE]   waits for the output, and keeps the first group in the variable
//	until REGEXP PROGRAM ARG...    runs a program again and again until its output matches
//	signal NAME TERM|INT|KILL      sends a signal; so do HUP, STOP and CONT
//	ended NAME CODE|SIGNAL         waits for the end of the process and checks how it ended
//	exits CODE PROGRAM ARG...      runs a program and checks its exit code; like exec otherwise
//	hold ADDRESS                   connects by HTTP/2 and then says nothing, until the script ends
//	metric ADDRESS NAME VALUE      waits until the metric at the address has the value
//	documented ADDRESS FILE        checks that each headroom_ metric at the address stands in the file
//	certs                          writes ca.pem, server.pem, server.key, client.pem and client.key
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setUpScript,
		Cmds:  scriptCommands,
		Condition: func(name string) (bool, error) {
			switch name {
			case "pids":
				_, err := os.Stat("/proc/thread-self/children")
				return err == nil && unix.Access(pidsGroup, unix.W_OK) == nil, nil
			case "loopback":
				return loopback.Try() == nil, nil
			case "stack": // of the usual size, on which depends how much a command can be given
				var size unix.Rlimit
				err := unix.Getrlimit(unix.RLIMIT_STACK, &size)
				return size.Cur >= 8<<20, err
			case "namespaces":
				return exec.Command("unshare", "-rmn", "sh", "-c", "ip link set lo up && mount -t tmpfs none /mnt").Run() == nil, nil
			default:
				return false, fmt.Errorf("unknown condition %q", name)
			}
		},
	})
}

// pidsGroup is the cgroup of version 1 in which groups may be made that bound how many processes run. They need not be
// below that of this process.
const pidsGroup = "/sys/fs/cgroup/pids"

// patience bounds each wait of a script. It is there to say what did not come, not how soon it must.
const patience = 2 * time.Minute

type processes map[string]*exec.Cmd

// setUpScript keeps a script off the settings and the addresses of this machine.
func setUpScript(env *testscript.Env) error {
	running := processes{}
	env.Values["processes"] = running
	env.Defer(func() {
		for _, p := range running {
			if p.ProcessState == nil {
				_ = p.Process.Kill() // it may just have ended
				_ = p.Wait()
			}
		}
	})
	socket := filepath.Join(env.WorkDir, "run", "h.sock")
	doc, err := filepath.Abs("../../docs/operations.md")
	if err != nil {
		return err
	}
	env.Setenv("OPERATIONS", doc)
	env.Setenv("PIDS", pidsGroup)
	// Signals that the tests themselves would set off.
	env.Setenv("FURTHER", strings.Join(append(slices.Clone(builtIn[4:]), hostSignals...), ","))
	env.Setenv("HEADROOM_SOCKET", socket)
	env.Setenv("HEADROOM_ADDR", "unix://"+socket)
	env.Setenv("HEADROOM_LISTEN", "127.0.0.1:0")
	env.Setenv("HEADROOM_STATE_DIR", "off") // else servers of several scripts would want the same
	env.Setenv("HEADROOM_CONFIG", filepath.Join(env.WorkDir, "none.yaml"))
	env.Setenv("GORACE", os.Getenv("GORACE"))
	for _, signal := range []string{"CPU", "MEMORY", "EVENT_LOOP", "CLIENT", "PRESSURE"} {
		env.Setenv("HEADROOM_"+signal+"_INTERVAL", "50ms")
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "none.yaml"), nil, 0o600)
}

var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	"start": func(ts *testscript.TestScript, _ bool, args []string) {
		name := args[0]
		out, err := os.Create(ts.MkAbs(name + ".out"))
		ts.Check(err)
		defer out.Close()
		cmd := command(ts, args[1:])
		cmd.Stdout, cmd.Stderr = out, out
		ts.Check(cmd.Start())
		ts.Value("processes").(processes)[name] = cmd
	},
	"await": func(ts *testscript.TestScript, _ bool, args []string) {
		pattern := regexp.MustCompile("(?m)" + args[1])
		deadline := time.Now().Add(patience)
		for {
			out := ts.ReadFile(args[0] + ".out")
			if m := pattern.FindStringSubmatch(out); m != nil {
				if len(args) > 2 {
					ts.Setenv(args[2], m[1])
				}
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("%s did not print %s but\n%s", args[0], args[1], out)
			}
			time.Sleep(5 * time.Millisecond)
		}
	},
	"until": func(ts *testscript.TestScript, _ bool, args []string) {
		pattern := regexp.MustCompile("(?m)" + args[0])
		deadline := time.Now().Add(patience)
		for {
			err := ts.Exec(args[1], args[2:]...)
			out := ts.ReadFile("stdout")
			if err == nil && pattern.MatchString(out) {
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("%q does not print %s but (%v)\n%s", args[1:], args[0], err, out)
			}
			time.Sleep(20 * time.Millisecond)
		}
	},
	"signal": func(ts *testscript.TestScript, _ bool, args []string) {
		signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT}
		ts.Check(process(ts, args[0]).Process.Signal(signals[args[1]]))
	},
	"ended": func(ts *testscript.TestScript, _ bool, args []string) {
		cmd := process(ts, args[0])
		slow := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer slow.Stop()
		if got := outcome(cmd.Wait()); got != args[1] {
			ts.Fatalf("%s ended with %s, want %s:\n%s", args[0], got, args[1], ts.ReadFile(args[0]+".out"))
		}
	},
	"exits": func(ts *testscript.TestScript, _ bool, args []string) {
		// testscript has no exec that states a code; the output is kept as exec would keep it.
		if got := outcome(ts.Exec(args[1], args[2:]...)); got != args[0] {
			ts.Fatalf("%q exits with %s, want %s", args[1:], got, args[0])
		}
	},
	"hold": func(ts *testscript.TestScript, _ bool, args []string) {
		conn, err := net.Dial("tcp", args[0])
		ts.Check(err)
		ts.Defer(func() { conn.Close() })
		_, err = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00")) // empty SETTINGS
		ts.Check(err)
	},
	"metric": func(ts *testscript.TestScript, _ bool, args []string) {
		line := regexp.MustCompile("(?m)^" + args[1] + " (.*)$")
		deadline := time.Now().Add(patience)
		for {
			m := line.FindSubmatch(metrics(ts, args[0]))
			if m != nil && string(m[1]) == args[2] {
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("%s is %q, want %s", args[1], m, args[2])
			}
			time.Sleep(5 * time.Millisecond)
		}
	},
	"documented": func(ts *testscript.TestScript, _ bool, args []string) {
		text := metrics(ts, args[0])
		doc, err := os.ReadFile(args[1])
		ts.Check(err)
		names := regexp.MustCompile(`(?m)^# TYPE (headroom_\w+)`).FindAllSubmatch(text, -1)
		if len(names) == 0 {
			ts.Fatalf("no metrics in %s", text)
		}
		for _, m := range names {
			if !strings.Contains(string(doc), "`"+string(m[1])+"`") {
				ts.Fatalf("%s does not name the metric %s", args[1], m[1])
			}
		}
	},
	"certs": func(ts *testscript.TestScript, _ bool, _ []string) {
		ts.Check(writeCertificates(ts.MkAbs("."), net.IPv4(127, 0, 0, 1)))
	},
}

func metrics(ts *testscript.TestScript, address string) []byte {
	resp, err := http.Get("http://" + address + "/metrics")
	ts.Check(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	return text
}

func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TERM"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	for _, name := range scriptEnv {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

// scriptEnv are the variables that a process may get from its script.
var scriptEnv = func() []string {
	names := []string{"HEADROOM_ADDR", "HEADROOM_TOKEN", "HEADROOM_CONFIG", "GOCOVERDIR", "GORACE"}
	for _, s := range newServeSettings().table() {
		names = append(names, s.env())
	}
	return names
}()

func process(ts *testscript.TestScript, name string) *exec.Cmd {
	cmd := ts.Value("processes").(processes)[name]
	if cmd == nil {
		ts.Fatalf("%s was not started", name)
	}
	return cmd
}

// outcome returns the exit code or the name of the signal that ended a process.
func outcome(err error) string {
	if err == nil {
		return "0"
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	if code := exit.ExitCode(); code >= 0 {
		return strconv.Itoa(code)
	}
	return strings.ReplaceAll(exit.ProcessState.String(), " ", "-")
}
