package main

import (
	"fmt"
	"io"
	"os"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

// A plan is what a command line says is to be run.
type plan struct {
	template  *jobs.Template
	arguments jobs.Arguments
	total     int64 // jobs; 0 where that is not known before all arguments are read
	close     func()
}

// newPlan reads a command line; nil where it means one command and is to be run as it stands. Files are opened.
func (f *manyFlags) newPlan(words []string, stdin io.Reader) (*plan, error) {
	command, inputs, err := jobs.Split(words)
	if err != nil {
		return nil, err
	}
	if len(command) == 0 {
		return nil, fmt.Errorf("want a command before %s", words[0])
	}
	template, err := jobs.NewTemplate(command, f.shell)
	if err != nil {
		return nil, err
	}
	var files []jobs.Input
	for _, name := range f.files {
		files = append(files, jobs.Input{File: name})
	}
	inputs = append(files, inputs...)
	if len(inputs) == 0 {
		if !template.HasPlaceholder() && !f.reads() {
			return nil, nil
		}
		inputs = []jobs.Input{{File: "-"}}
	}
	if f.maxArgs > 1 && len(inputs) > 1 {
		return nil, fmt.Errorf("--max-args goes with one input, not %d", len(inputs))
	}
	open := map[string]io.ReadCloser{}
	p := &plan{template: template, close: func() {
		for _, file := range open {
			_ = file.Close() // it was opened for reading
		}
	}}
	for _, input := range inputs {
		if input.File == "" {
			continue
		}
		if _, twice := open[input.File]; twice {
			p.close()
			return nil, fmt.Errorf("%s is read twice", input.File)
		}
		if input.File == "-" {
			open["-"] = io.NopCloser(stdin)
			continue
		}
		file, err := os.Open(input.File)
		if err != nil {
			p.close()
			return nil, err
		}
		open[input.File] = file
	}
	delimiter, err := delimiterOf(f.delimiter)
	if err != nil {
		return nil, err
	}
	if f.null {
		delimiter = 0
	}
	p.arguments = jobs.Combine(inputs, func(input jobs.Input) jobs.Arguments {
		if input.File == "" {
			return jobs.Values(input.Values)
		}
		return jobs.Lines(open[input.File], delimiter)
	})
	if f.maxArgs > 1 {
		p.arguments = jobs.Chunk(p.arguments, f.maxArgs)
	}
	p.total, _ = jobs.Count(inputs, f.maxArgs)
	return p, nil
}
