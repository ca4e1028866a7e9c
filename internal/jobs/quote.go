package jobs

import "strings"

// plain are the characters that no shell gives a meaning to, wherever they stand in a word that is not assigned to.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+"

// Quote returns text such that a POSIX shell takes it for one word and gives it back exactly, whatever bytes are in
// it but NUL, which no argument can hold.
func Quote(text string) string {
	if text != "" && strings.Trim(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
