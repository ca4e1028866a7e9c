package diagnose

import (
	"errors"
	"strings"
	"testing"
)

func TestLogTail(t *testing.T) {
	var tail logTail
	var log strings.Builder
	for i := range 200 {
		line := strings.Repeat(string(rune('a'+i%26)), 1+i*50) + "\n"
		log.WriteString(line)
		tail.add([]byte(line))
	}
	text := log.String()
	if end := int64(len(text)); tail.end != end || end-tail.begin < maxUnsure || end-tail.begin > maxUnsure+10_000 {
		t.Errorf("of %d bytes those from %d to %d are kept, want the last %d and the rest of a line", end, tail.begin, tail.end, maxUnsure)
	}
	for _, place := range []int64{0, tail.begin, tail.begin + 1, tail.begin + 5000, tail.end - 1, tail.end} {
		var got strings.Builder
		if err := tail.from(place, func(p []byte) error { got.Write(p); return nil }); err != nil {
			t.Fatal(err)
		}
		if want := text[max(place, tail.begin):]; got.String() != want {
			t.Errorf("from %d: %d bytes, want the last %d", place, got.Len(), len(want))
		}
	}
	broken, calls := errors.New("broken"), 0
	if err := tail.from(0, func([]byte) error { calls++; return broken }); err != broken || calls != 1 {
		t.Errorf("after an error: %v, %d calls", err, calls)
	}
}
