package server

import (
	"bytes"
	"fmt"
	"io"

	"github.com/headroom-rpc/headroom/diagnostics"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// shown returns a memory log in another form. No other content is ever interpreted.
func shown(a *diagnostics.Artifact, r io.Reader, form headroomv1.ArtifactForm) (*content, error) {
	if a.Recorder != diagnostics.RecorderMemory {
		return nil, &formError{name: a.Name, why: "only a memory log can be shown as JSON or as a plot"}
	}
	if a.Size > maxMemoryLog {
		return nil, &formError{name: a.Name, why: fmt.Sprintf("it has more than %d bytes", maxMemoryLog)}
	}
	text, err := io.ReadAll(io.LimitReader(r, maxMemoryLog))
	if err != nil {
		return nil, fmt.Errorf("read artifact %s: %w", a.ID, err)
	}
	log, err := diagnostics.ParseMemoryLog(text)
	if err != nil { // a worker may have uploaded anything under the name
		return nil, &formError{name: a.Name, why: err.Error()}
	}
	c := &content{close: func() {}}
	switch form {
	case headroomv1.ArtifactForm_ARTIFACT_FORM_JSON:
		c.mediaType, c.fileName = "application/json", "memory.json"
		text, err = log.JSON()
	case headroomv1.ArtifactForm_ARTIFACT_FORM_SVG:
		c.mediaType, c.fileName = "image/svg+xml", "memory.svg"
		text = log.SVG(fmt.Sprintf("memory of %s, from %s", a.Task, a.Begin.UTC().Format("2006-01-02 15:04:05 MST")))
	default:
		return nil, &formError{name: a.Name, why: "there is no such form"}
	}
	if err != nil {
		return nil, fmt.Errorf("encode artifact %s: %w", a.ID, err)
	}
	c.ReaderAt, c.size = bytes.NewReader(text), int64(len(text))
	return c, nil
}
