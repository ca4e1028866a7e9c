// Package jobs holds the rules by which one command line becomes many commands: templates with placeholders,
// sources of arguments, the order of what is printed, when to halt, the log of what ran. The syntax is that of
// GNU parallel and of xargs where they have one. The package starts no process and reads no clock.
package jobs

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Job is one command to be made of a template.
type Job struct {
	// Seq numbers the jobs in the order of their arguments, from 1.
	Seq int64

	// Slot is a number from 1 that no other job has at the same time.
	Slot int

	// Args are the arguments, at least one unless the template has no placeholder.
	Args []string
}

// ArgVariable is the environment variable that holds the arguments of a job.
const ArgVariable = "HEADROOM_ARG"

// Environ returns the variables that a command has of its job: HEADROOM_ARG, the arguments with a space between
// them, HEADROOM_SEQ and HEADROOM_SLOT.
func (j *Job) Environ() []string {
	return []string{
		ArgVariable + "=" + strings.Join(j.Args, " "),
		"HEADROOM_SEQ=" + strconv.FormatInt(j.Seq, 10),
		"HEADROOM_SLOT=" + strconv.Itoa(j.Slot),
	}
}

// A Template is a command with placeholders:
//
//	{}     the arguments              {#}  the number of the job, from 1
//	{.}    without their extension    {%}  the slot it runs in, from 1
//	{/}    without their directory    {2}  the second argument, and so {2.} {2/} {2//} {2/.}
//	{//}   their directory
//	{/.}   without both
//
// One that follows a $ is none: it is the shell's. A word that is a placeholder and nothing else becomes as many
// words as there are arguments; within a longer word they are joined by spaces. A template without a placeholder
// gets the arguments at its end, unless it is for a shell and names HEADROOM_ARG.
type Template struct {
	words [][]piece
	shell bool
	found bool // a placeholder was found
}

// A piece of a word is a text or a placeholder.
type piece struct {
	text  string // where kind is 0
	kind  kind
	index int // of one argument, from 1; 0 for all
}

type kind uint8

const (
	whole kind = iota + 1
	noExtension
	base
	directory
	baseNoExtension
	sequence
	slot
)

var kinds = map[string]kind{"": whole, ".": noExtension, "/": base, "//": directory, "/.": baseNoExtension}

var placeholder = regexp.MustCompile(`\{(?:#|%|([1-9][0-9]{0,4})?(//|/\.|/|\.)?)\}`)

// NewTemplate parses the words of a command. With shell they are one string, which sh is to run, and into which the
// arguments are put quoted.
func NewTemplate(words []string, shell bool) (*Template, error) {
	if len(words) == 0 {
		return nil, errors.New("want a command")
	}
	if shell && len(words) != 1 {
		return nil, fmt.Errorf("want one string for the shell, not %d words", len(words))
	}
	t := &Template{shell: shell}
	for _, word := range words {
		pieces := parse(word)
		t.words = append(t.words, pieces)
		t.found = t.found || slices.ContainsFunc(pieces, func(p piece) bool { return p.kind != 0 })
	}
	return t, nil
}

func parse(word string) []piece {
	var pieces []piece
	begin := 0
	for _, at := range placeholder.FindAllStringSubmatchIndex(word, -1) {
		if at[0] > 0 && word[at[0]-1] == '$' {
			continue
		}
		if begin < at[0] {
			pieces = append(pieces, piece{text: word[begin:at[0]]})
		}
		begin = at[1]
		p := piece{}
		switch word[at[0]:at[1]] {
		case "{#}":
			p.kind = sequence
		case "{%}":
			p.kind = slot
		default:
			if at[2] >= 0 {
				p.index, _ = strconv.Atoi(word[at[2]:at[3]]) // the expression lets digits through
			}
			transform := ""
			if at[4] >= 0 {
				transform = word[at[4]:at[5]]
			}
			p.kind = kinds[transform]
		}
		pieces = append(pieces, p)
	}
	if begin < len(word) || len(pieces) == 0 {
		pieces = append(pieces, piece{text: word[begin:]})
	}
	return pieces
}

// Program returns the name of the program, where that is the same for all jobs.
func (t *Template) Program() (name string, ok bool) {
	switch {
	case t.shell:
		return "sh", true
	case len(t.words[0]) == 1 && t.words[0][0].kind == 0:
		return t.words[0][0].text, true
	default:
		return "", false
	}
}

// HasPlaceholder reports whether the command has a placeholder.
func (t *Template) HasPlaceholder() bool { return t.found }

// appends reports whether the arguments come after the command.
func (t *Template) appends() bool {
	return !t.found && !(t.shell && strings.Contains(t.words[0][0].text, ArgVariable))
}

// Command returns the words of the command for a job. Those for a shell are sh, -c and the string.
func (t *Template) Command(j *Job) []string {
	words := make([]string, 0, len(t.words)+len(j.Args))
	if t.shell {
		words = append(words, "sh", "-c")
	}
	for _, pieces := range t.words {
		if len(pieces) == 1 && !t.shell {
			words = pieces[0].appendWords(words, j)
			continue
		}
		var b strings.Builder
		for _, p := range pieces {
			p.write(&b, j, t.shell)
		}
		words = append(words, b.String())
	}
	if !t.appends() {
		return words
	}
	if !t.shell {
		return append(words, j.Args...)
	}
	var b strings.Builder
	b.WriteString(words[2])
	for _, arg := range j.Args {
		b.WriteByte(' ')
		b.WriteString(Quote(arg))
	}
	words[2] = b.String()
	return words
}

// Line returns the command for a job as one line for people and for a log: what a shell would take to run it.
func (t *Template) Line(j *Job) string {
	words := t.Command(j)
	if t.shell {
		return words[2]
	}
	for i, word := range words {
		words[i] = Quote(word)
	}
	return strings.Join(words, " ")
}

// appendWords appends what the piece becomes as a word of its own.
func (p *piece) appendWords(words []string, j *Job) []string {
	if p.kind == 0 {
		return append(words, p.text)
	}
	for value := range p.values(j) {
		words = append(words, value)
	}
	return words
}

// write writes what the piece becomes within a word.
func (p *piece) write(b *strings.Builder, j *Job, quoted bool) {
	if p.kind == 0 {
		b.WriteString(p.text)
		return
	}
	first := true
	for value := range p.values(j) {
		if !first {
			b.WriteByte(' ')
		}
		first = false
		if quoted {
			value = Quote(value)
		}
		b.WriteString(value)
	}
}

// values yields what a placeholder stands for: nothing where the job has no such argument.
func (p *piece) values(j *Job) func(func(string) bool) {
	return func(yield func(string) bool) {
		switch {
		case p.kind == sequence:
			yield(strconv.FormatInt(j.Seq, 10))
		case p.kind == slot:
			yield(strconv.Itoa(j.Slot))
		case p.index > len(j.Args):
		case p.index > 0:
			yield(p.kind.of(j.Args[p.index-1]))
		default:
			for _, arg := range j.Args {
				if !yield(p.kind.of(arg)) {
					return
				}
			}
		}
	}
}

// of transforms one argument.
func (k kind) of(arg string) string {
	slash := strings.LastIndexByte(arg, '/')
	switch k {
	case directory:
		return directoryOf(arg)
	case base, baseNoExtension:
		arg, slash = arg[slash+1:], -1
	}
	if k == noExtension || k == baseNoExtension {
		if dot := strings.LastIndexByte(arg, '.'); dot > slash {
			arg = arg[:dot]
		}
	}
	return arg
}

// directoryOf is dirname(1). path.Dir would also clean the path.
func directoryOf(arg string) string {
	name := strings.TrimRight(arg, "/")
	if name == "" && arg != "" {
		return "/"
	}
	slash := strings.LastIndexByte(name, '/')
	if slash < 0 {
		return "."
	}
	if dir := strings.TrimRight(name[:slash], "/"); dir != "" {
		return dir
	}
	return "/"
}
