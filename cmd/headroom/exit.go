package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headroom-rpc/headroom/client"
)

// The exit codes. They are an interface: docs/operations.md and the help state them. 2 is never used, for
// GNU parallel takes it for "kill the youngest job".
const (
	exitOK         = 0
	exitOverloaded = 1   // status: overloaded
	exitNotServing = 1   // health: starting or ending
	exitFailure    = 1   // serve and config: could not do it
	exitUnknown    = 3   // unknown, unreachable, or the call failed
	exitUsage      = 64  // the command line, a variable, the file or a request is wrong
	exitDenied     = 77  // the server refused the caller
	exitNotFree    = 75  // run --or-fail: no permit is free
	exitTimeout    = 124 // the time to wait ran out; run --timeout: the command took too long
	exitRun        = 125 // run, task: headroom could not run the command, or had to end it

	exitNotExecutable = 126 // run, task, severity --exec: the command cannot be run
	exitNotFound      = 127 // run, task, severity --exec: there is no such command

	exitPipe = 141 // the reader of the output went away, as a shell shows SIGPIPE
)

const exitHelp = `Exit codes:
  0    done; status: idle; health: serving; severity: any level
  1    status: overloaded; health: not serving; serve: could not start
  3    unknown, or the server cannot be reached
  64   wrong usage or settings
  75   run --or-fail: no permit is free
  77   the server refused the caller
  124  status --wait-idle: still not idle after --timeout; run --wait: no
       permit; run --timeout: the command took too long
  125  run, task: headroom failed, or lost the permit and ended the command
  126  run, task, severity --exec: the command cannot be run
  127  run, task, severity --exec: there is no such command
run and task exit with the code of their command, or 128 and the number of the
signal that ended it; run with many commands with how many failed, 101 for more
than 100.
`

// An exitError ends the program with a code. A nil err says nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError is an exitError for a command line that is wrong; cmd's help says what is right.
func usageError(cmd *cobra.Command, err error) error {
	return &exitError{exitUsage, fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
}

// callError is the exitError for a call to the server that failed.
func callError(err error) error {
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	code, text := exitUnknown, err.Error()
	if s := statusOf(err); s != nil {
		switch s.Code() {
		case codes.PermissionDenied, codes.Unauthenticated:
			code = exitDenied
		case codes.InvalidArgument, codes.NotFound, codes.OutOfRange, codes.FailedPrecondition:
			code = exitUsage
		}
		text = s.Message()
	}
	text = strings.TrimPrefix(strings.TrimPrefix(text, "client: "), "server: ")
	if reason := client.Reason(err); reason != "" {
		text += " (" + reason + ")"
	}
	return &exitError{code, &described{text, err}}
}

// described is an error in other words.
type described struct {
	text string
	err  error
}

func (d *described) Error() string { return d.text }
func (d *described) Unwrap() error { return d.err }

// statusOf returns the gRPC status within err, or nil.
func statusOf(err error) *status.Status {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus()
	}
	return nil
}

// finish prints err, one line of the program's for each of its lines, and returns the exit code.
func finish(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, syscall.EPIPE) {
		return exitPipe
	}
	code := exitFailure
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		err = exit.err
	}
	var wrong faults
	if errors.As(err, &wrong) {
		fmt.Fprintln(stderr, wrong.Error()) // FILE:LINE first, as an editor reads it
		return code
	}
	if err == nil {
		return code
	}
	first, rest, _ := strings.Cut(err.Error(), "\n")
	fmt.Fprintf(stderr, "headroom: %s\n", clean(first))
	for line := range strings.Lines(rest) {
		fmt.Fprintf(stderr, "  %s\n", clean(strings.TrimSuffix(line, "\n")))
	}
	return code
}
