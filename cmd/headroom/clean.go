package main

import (
	"strings"
	"unicode/utf8"
)

// clean makes a text that somebody else wrote fit for a terminal: control characters (C0, DEL, C1, so also
// ESC), line and paragraph separators, and the marks that change the direction of text become U+FFFD, and
// so does what is not UTF-8. Such a text can then neither move the cursor nor pass for something else.
func clean(text string) string {
	if !strings.ContainsFunc(text, dangerous) && utf8.ValidString(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if dangerous(r) {
			return utf8.RuneError
		}
		return r
	}, text)
}

func dangerous(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f: // marks of direction
		return true
	case r >= 0x2028 && r <= 0x202e: // separators, embeddings, overrides
		return true
	case r >= 0x2066 && r <= 0x2069: // isolates
		return true
	default:
		return false
	}
}
