package server

import "io/fs"

// distrusted trusts everything: the system has no owner and mode to judge by.
func distrusted(fs.FileInfo) error { return nil }
