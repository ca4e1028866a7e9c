package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/headroom-rpc/headroom/diagnostics"
)

// pythonName matches the names of interpreters: python, python3, python3.11, pypy3.
var pythonName = regexp.MustCompile(`^(python|pypy)[0-9.]*(\.exe)?$`)

// A python is a command that runs a Python program.
type python struct {
	path    string   // of the interpreter
	options []string // for it
	program []string // a file, or -m or -c with what follows, and the arguments
}

// pythonOf returns how the command runs Python, or nil if it does not.
func pythonOf(path string, args []string) *python {
	if pythonName.MatchString(filepath.Base(path)) {
		p := &python{path: path}
		p.options, p.program = splitPython(args[1:])
		return p
	}
	interpreter := shebang(path)
	if len(interpreter) == 0 {
		return nil
	}
	if filepath.Base(interpreter[0]) == "env" && len(interpreter) > 1 {
		interpreter = interpreter[1:]
	}
	if !pythonName.MatchString(filepath.Base(interpreter[0])) {
		return nil
	}
	found, err := exec.LookPath(interpreter[0])
	if err != nil {
		return nil
	}
	return &python{path: found, options: interpreter[1:], program: append([]string{path}, args[1:]...)}
}

// splitPython splits the arguments of the interpreter from the program.
func splitPython(args []string) (options, program []string) {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "-W" || arg == "-X": // with a value of its own
			options = append(options, arg)
			if i++; i < len(args) {
				options = append(options, args[i])
			}
		case arg != "-m" && arg != "-c" && len(arg) > 1 && arg[0] == '-':
			options = append(options, arg)
		default:
			return options, args[i:]
		}
	}
	return options, nil
}

// shebang returns the words of the first line of a script, after "#!"; nil of what is none.
func shebang(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	line, err := bufio.NewReaderSize(f, 256).ReadSlice('\n')
	if err != nil || !strings.HasPrefix(string(line), "#!") {
		return nil
	}
	return strings.Fields(string(line[2:]))
}

// planPython runs the program under what profiles it.
func (d *diagnoseCommand) planPython(p *diagnosis, py *python) error {
	var wrong []error
	if d.cpu && d.allocations {
		wrong = append(wrong, errors.New("--cpu and --allocations do not go together for Python: pyinstrument and memray "+
			"are each to run the program"))
	}
	if len(py.program) == 0 {
		wrong = append(wrong, errors.New("want a Python program to profile"))
	}
	recorder, module := diagnostics.RecorderPyinstrument, []string{"-m", "pyinstrument", "-r", "html", "-o"}
	if !d.cpu {
		recorder, module = diagnostics.RecorderMemray, []string{"-m", "memray", "run", "-q", "-f", "--aggregate", "-o"}
	}
	if err := exec.Command(py.path, "-c", "import "+recorder).Run(); err != nil {
		wrong = append(wrong, fmt.Errorf("%s: it is not installed for %s", recorder, clean(py.path)))
	}
	if len(wrong) > 0 {
		return &exitError{exitUsage, errors.Join(wrong...)}
	}
	dir, err := os.MkdirTemp("", "headroom-diagnose-")
	if err != nil {
		return &exitError{exitRun, err}
	}
	known, _ := diagnostics.Lookup(recorder)
	file := filepath.Join(dir, known.File)
	p.dir, p.files[recorder] = dir, file
	p.args = append(append(append(append([]string{py.path}, py.options...), module...), file), py.program...)
	p.path = py.path
	p.outside = append(p.outside, recorder)
	return nil
}
