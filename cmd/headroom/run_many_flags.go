package main

import (
	"errors"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

// manyFlags are the flags of `headroom run` for many commands.
type manyFlags struct {
	files        []string
	maxArgs      int // 0 for one argument a command
	null         bool
	delimiter    string // "" for a newline
	shell        bool
	most         concurrency
	keepOrder    bool
	tag          bool
	lineBuffer   bool
	ungroup      bool
	retries      int
	timeout      time.Duration // 0 for none
	halt         jobs.Halt
	joblog       string
	resume       bool
	resumeFailed bool
	dryRun       bool
}

func addManyFlags(cmd *cobra.Command) *manyFlags {
	f := &manyFlags{retries: 1}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files, "arg-file", "a", nil, "file with an argument in each line, - for standard input; may be given several times")
	maxArgs := countSetting("max-args", &f.maxArgs, 1, 1<<20, "how many arguments a command gets at most")
	maxArgs.unset = "1"
	addFlag(cmd, maxArgs, "n")
	addFlag(cmd, switchSetting("null", &f.null, "arguments that are read end with NUL, not with a newline"), "0")
	addFlag(cmd, textSetting("delimiter", "character", &f.delimiter, `one byte, or \n, \t or \0`, checkDelimiter,
		"arguments that are read end with this"), "d")
	addFlag(cmd, switchSetting("shell", &f.shell, "the command is one string for sh; arguments are put into it quoted"), "")
	addFlag(cmd, setting{
		name: "jobs", value: typed[concurrency]{&f.most, "most", parseConcurrency, concurrency.String}, unset: "what the machine takes",
		accepts: "N, +N or -N for so many more or less than cores, or N%",
		help:    "how many commands run at most: N, or N% of the cores, or +N or -N for so many more or fewer than these, at least 1; 0 for no bound",
	}, "j")
	addFlag(cmd, switchSetting("keep-order", &f.keepOrder, "print what the commands print in the order of the arguments"), "k")
	addFlag(cmd, switchSetting("tag", &f.tag, "print the arguments and a TAB before each line"), "")
	addFlag(cmd, switchSetting("line-buffer", &f.lineBuffer, "print each line at once, not all of a command when it ends"), "")
	addFlag(cmd, switchSetting("ungroup", &f.ungroup, "let the commands print by themselves"), "u")
	addFlag(cmd, countSetting("retries", &f.retries, 1, 1000, "how often a command that fails is run in all"), "")
	timeout := durationSetting("timeout", &f.timeout, time.Millisecond, 365*24*time.Hour,
		"how long a command may take; then it is ended and has failed")
	timeout.unset = "no end"
	addFlag(cmd, timeout, "")
	addFlag(cmd, setting{
		name: "halt", value: typed[jobs.Halt]{&f.halt, "rule", parseHalt, jobs.Halt.String}, accepts: jobs.HaltSyntax,
		help: "when to start no more, as soon,fail=1 or now,done=50%; now also ends what runs",
	}, "")
	flags.StringVar(&f.joblog, "joblog", "", "file to write how each command ended to")
	addFlag(cmd, switchSetting("resume", &f.resume, "leave out what --joblog says was run, and add to it"), "")
	addFlag(cmd, switchSetting("resume-failed", &f.resumeFailed, "like --resume, but run again what failed"), "")
	addFlag(cmd, switchSetting("dry-run", &f.dryRun, "print the commands, run none"), "")
	return f
}

func parseHalt(text string) (jobs.Halt, error) {
	h, err := jobs.ParseHalt(text)
	if err != nil {
		return h, errNotAccepted
	}
	return h, nil
}

// concurrency is how many commands may run at once.
type concurrency struct {
	text string
	most int64 // 0 for no bound
}

func (c concurrency) String() string { return c.text }

// parseConcurrency counts cores as the Go runtime does, so within the quota of a cgroup.
func parseConcurrency(text string) (concurrency, error) {
	cores := float64(runtime.GOMAXPROCS(0))
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	signed := strings.HasPrefix(text, "+") || strings.HasPrefix(text, "-")
	switch {
	case err != nil || math.IsNaN(v) || math.Abs(v) > 1e6, !percent && v != math.Trunc(v):
		return concurrency{}, errNotAccepted
	case percent:
		v = cores * v / 100
	}
	if signed {
		v += cores
	}
	if v == 0 && !percent && !signed {
		return concurrency{text: text}, nil // as GNU parallel has it: as many as there can be
	}
	return concurrency{text, max(1, int64(v))}, nil
}

func checkDelimiter(text string) error {
	if _, err := delimiterOf(text); err != nil {
		return errNotAccepted
	}
	return nil
}

func delimiterOf(text string) (byte, error) {
	switch {
	case text == "":
		return '\n', nil
	case text == `\0`:
		return 0, nil
	case len(text) == 1 && text != `\`:
		return text[0], nil
	}
	c, _, rest, err := strconv.UnquoteChar(text, 0)
	if err != nil || rest != "" || c > 0xff {
		return 0, errors.New("not one byte")
	}
	return byte(c), nil
}

// reads reports whether arguments are read although none of the inputs is named.
func (f *manyFlags) reads() bool { return f.maxArgs > 0 || f.null || f.delimiter != "" }

// check reports flags that do not go together.
func (f *manyFlags) check() []error {
	var wrong []error
	fault := func(bad bool, text string) {
		if bad {
			wrong = append(wrong, errors.New(text))
		}
	}
	fault(f.null && f.delimiter != "", "--null and --delimiter do not go together")
	fault(f.ungroup && (f.keepOrder || f.tag || f.lineBuffer), "--ungroup does not go with --keep-order, --tag and --line-buffer")
	fault(f.lineBuffer && f.keepOrder, "--line-buffer and --keep-order do not go together")
	fault((f.resume || f.resumeFailed) && f.joblog == "", "--resume and --resume-failed want --joblog")
	return wrong
}

// manyOnly names the flags that were given and say something of many commands only.
func manyOnly(cmd *cobra.Command) []string {
	var given []string
	for _, name := range []string{"keep-order", "tag", "line-buffer", "ungroup", "jobs", "retries", "halt", "joblog", "resume", "resume-failed",
		"dry-run"} {
		if cmd.Flags().Changed(name) {
			given = append(given, "--"+name)
		}
	}
	return given
}
