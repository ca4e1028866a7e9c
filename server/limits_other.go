//go:build !unix

package server

import "math"

// maxOpenFiles is how many file descriptors the process may have open: here there is no such limit.
func maxOpenFiles() int { return math.MaxInt32 }
