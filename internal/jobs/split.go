package jobs

import (
	"fmt"
	"slices"
)

// An Input is one list of arguments: values, or a file with one in each line.
type Input struct {
	Values []string
	File   string // "" for Values, "-" for standard input

	// Linked is whether its arguments go with those of the input before, one with one, instead of being
	// combined with each of them. The shorter of the two ends both.
	Linked bool
}

// separators begin an input on the command line.
var separators = map[string]struct{ file, linked bool }{
	":::": {}, ":::+": {linked: true}, "::::": {file: true}, "::::+": {file: true, linked: true},
}

// Split cuts a command line into the command and the inputs that follow it: ::: and values, or :::: and files, with
// + after it for an input that is linked to the one before. Each file of a :::: is an input.
func Split(words []string) (command []string, inputs []Input, err error) {
	at := slices.IndexFunc(words, isSeparator)
	if at < 0 {
		return words, nil, nil
	}
	command, words = words[:at], words[at:]
	for len(words) > 0 {
		sign := words[0]
		end := 1 + slices.IndexFunc(words[1:], isSeparator)
		if end == 0 {
			end = len(words)
		}
		values := words[1:end]
		words = words[end:]
		s := separators[sign]
		if s.linked && len(inputs) == 0 {
			return nil, nil, fmt.Errorf("%s: there is no input before it", sign)
		}
		if !s.file {
			inputs = append(inputs, Input{Values: slices.Clip(values), Linked: s.linked})
			continue
		}
		if len(values) == 0 {
			return nil, nil, fmt.Errorf("%s: want a file", sign)
		}
		for _, file := range values {
			inputs = append(inputs, Input{File: file, Linked: s.linked})
		}
	}
	return command, inputs, nil
}

func isSeparator(word string) bool {
	_, ok := separators[word]
	return ok
}
