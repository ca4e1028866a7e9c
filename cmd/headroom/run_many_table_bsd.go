//go:build unix && !linux

package main

import "os"

// tableMemory returns the file of a new table, which has no name any more. It is written, so that there is room for it
// on the disk: where that is full later, what is mapped does not fault.
func tableMemory() (*os.File, error) {
	file, err := tempFile()
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(make([]byte, tableSize)); err != nil {
		_ = drop(file) // the first error says more
		return nil, err
	}
	return file, nil
}
