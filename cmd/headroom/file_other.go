//go:build !unix

package main

import "os"

func openNoWait(path string) (*os.File, error) { return os.Open(path) }

// trusted accepts every file: the system has no owner and mode to judge by.
func trusted(os.FileInfo) error { return nil }
