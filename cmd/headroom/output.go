package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// addOutputFlag defines -o and returns a function that tells whether JSON is asked for.
func addOutputFlag(cmd *cobra.Command) func() bool {
	output := "table"
	addFlag(cmd, choiceSetting("output", "form", &output, []choice[string]{{"table", "table"}, {"json", "json"}},
		"form of the output"), "o")
	return func() bool { return output == "json" }
}

// printJSON prints the message as one object on one line, with the names of the proto and with fields at
// their default. The same message gives the same text: protojson itself varies its spaces on purpose. What
// could steer a terminal is escaped, which changes no value.
func printJSON(w io.Writer, m proto.Message) error {
	loose, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, loose); err != nil {
		return err
	}
	_, err = io.WriteString(w, escaped(line.String())+"\n")
	return err
}

// escaped returns JSON text with the escapes that JSON itself does not ask for.
func escaped(text string) string {
	if !strings.ContainsFunc(text, dangerous) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if dangerous(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
