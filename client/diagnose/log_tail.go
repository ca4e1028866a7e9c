package diagnose

// maxUnsure bounds how much of a log is kept that was sent, in bytes: more than the server may not have yet. That is a
// window of the stream, what waits in the client's transport, and a message or two on their way through the server,
// each 64 KiB.
const maxUnsure = 512 << 10

// logTail is the newest part of a log, whole lines. Places in the log are counted in bytes from its beginning.
type logTail struct {
	lines      [][]byte
	begin, end int64 // of lines
}

// add appends a line, and forgets what is older than maxUnsure.
func (t *logTail) add(line []byte) {
	t.lines = append(t.lines, line)
	t.end += int64(len(line))
	for t.end-t.begin-int64(len(t.lines[0])) >= maxUnsure {
		t.begin += int64(len(t.lines[0]))
		t.lines[0], t.lines = nil, t.lines[1:]
	}
}

// from calls write with what there is from the place on, until that returns an error, which it returns.
func (t *logTail) from(place int64, write func([]byte) error) error {
	at := t.begin
	for _, line := range t.lines {
		next := at + int64(len(line))
		if next > place {
			if err := write(line[max(place-at, 0):]); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}
