package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// maxFileSize bounds the file of settings; it is checked before the file is parsed.
const maxFileSize = 256 << 10

// What a file may hold in place of a single value, in the words of a fault.
const (
	shapeList    = "a list"
	shapeMapping = "a mapping"
	shapeNothing = "nothing"
)

// readFile opens the file once, checks that nobody else may have written it, and reads what it gives.
func readFile(path string) ([]given, faults) {
	text, err := readTrusted(path)
	if err != nil {
		return nil, faults{{where: path, want: err.Error()}}
	}
	return parseFile(path, text)
}

// readTrusted reads a regular file of at most maxFileSize bytes that only its owner may write, who is root
// or who runs this program.
func readTrusted(path string) ([]byte, error) {
	f, err := openNoWait(path)
	if err != nil {
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if err := trusted(info); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFileSize {
		return nil, fmt.Errorf("larger than %s", formatSize(maxFileSize))
	}
	return text, nil
}

// parseFile reads a YAML mapping of names to values. It reports every fault that has to do with the form
// of the file; apply reports those of names and values.
func parseFile(path string, text []byte) ([]given, faults) {
	at := func(line int) string { return path + ":" + strconv.Itoa(line) }
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	err := decoder.Decode(&document)
	if err == io.EOF || err == nil && len(document.Content) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, faults{syntaxFault(path, err)}
	}
	var wrong faults
	if err := decoder.Decode(new(yaml.Node)); err != io.EOF {
		wrong = append(wrong, fault{where: path, want: "want one document"})
	}
	wrong = append(wrong, aliases(document.Content[0], at)...)
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, wrong
	}
	if root.Kind != yaml.MappingNode {
		return nil, append(wrong, fault{where: at(root.Line), line: root.Line, want: "want lines of the form name: value"})
	}
	var all []given
	first := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			wrong = append(wrong, fault{where: at(key.Line), line: key.Line, want: "want the name of a setting before ':'"})
			continue
		}
		if line, ok := first[key.Value]; ok {
			wrong = append(wrong, fault{where: at(key.Line), line: key.Line, name: quoteOdd(key.Value),
				want: fmt.Sprintf("set before, on line %d", line)})
			continue
		}
		first[key.Value] = key.Line
		if value.Kind == yaml.AliasNode {
			continue // reported by aliases
		}
		g := given{name: key.Value, where: at(key.Line), line: key.Line, file: path, node: value}
		g.text, g.shape = valueOf(value)
		all = append(all, g)
	}
	return all, wrong
}

// valueOf returns the text of a value, and its shape where it is not a single value. The items of a list
// of single values are joined as a flag would have them.
func valueOf(node *yaml.Node) (text, shape string) {
	switch node.Kind {
	case yaml.ScalarNode:
		if node.Tag == "!!null" {
			return "", shapeNothing
		}
		return node.Value, ""
	case yaml.SequenceNode:
		items := make([]string, 0, len(node.Content))
		for _, item := range node.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
				return "", "a list of more than words"
			}
			items = append(items, item.Value)
		}
		return joinList(items), shapeList
	case yaml.MappingNode:
		return "", shapeMapping
	default:
		return "", shapeNothing
	}
}

// aliases refuses anchors and aliases wherever they stand: a few lines of them can stand for gigabytes.
func aliases(node *yaml.Node, at func(int) string) faults {
	var wrong faults
	if node.Kind == yaml.AliasNode || node.Anchor != "" {
		wrong = append(wrong, fault{where: at(node.Line), line: node.Line, want: "anchors and aliases are not allowed"})
	}
	for _, child := range node.Content {
		wrong = append(wrong, aliases(child, at)...)
	}
	return wrong
}

// yamlLine matches what the parser says of a fault of syntax.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func syntaxFault(path string, err error) fault {
	text := err.Error()
	where := path
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if m[1] != "" {
			where += ":" + m[1]
		}
	}
	return fault{where: where, want: "not YAML: " + text}
}
