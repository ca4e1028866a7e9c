//go:build unix

package main

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A groupTable holds the process groups that a watchdog is to end, in memory that it shares: a command that begins or
// ends costs one write to it, and no message. A nil one holds nothing. It is safe for concurrent use.
type groupTable struct {
	file  *os.File
	slots []atomic.Int32
	owner int // the pid of the process that starts the commands
}

// tableSlots is how many groups a table holds; the kernel kills what more there are, but not what that started.
const tableSlots = 16 << 10

// tableFile is the file of the table in a watchdog: the first after its standard files.
const tableFile = 3

// newGroupTable returns an empty table.
func newGroupTable() (*groupTable, error) {
	file, err := tableMemory()
	if err != nil {
		return nil, err
	}
	t, err := mapTable(file)
	if err != nil {
		_ = file.Close() // the first error says more
		return nil, err
	}
	t.owner = os.Getpid()
	t.slots[ownerSlot].Store(int32(t.owner)) // a watchdog may begin only after this process was killed
	t.slots = t.slots[:ownerSlot]
	return t, nil
}

// ownerSlot follows the slots of the groups.
const ownerSlot = tableSlots

// tableSize is in bytes.
const tableSize = (tableSlots + 1) * int(unsafe.Sizeof(atomic.Int32{}))

func mapTable(file *os.File) (*groupTable, error) {
	memory, err := unix.Mmap(int(file.Fd()), 0, tableSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &groupTable{file: file, slots: unsafe.Slice((*atomic.Int32)(unsafe.Pointer(&memory[0])), tableSlots+1)}, nil
}

// inheritedTable returns the table of a watchdog; nil where it was given none.
func inheritedTable() *groupTable {
	file := os.NewFile(tableFile, "table")
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	t, err := inheritTable(file)
	if err != nil {
		return nil
	}
	return t
}

func inheritTable(file *os.File) (*groupTable, error) {
	t, err := mapTable(file)
	if err != nil {
		return nil, err
	}
	t.owner = int(t.slots[ownerSlot].Load())
	t.slots = t.slots[:ownerSlot]
	return t, nil
}

// files are what a watchdog is to inherit.
func (t *groupTable) files() []*os.File {
	if t == nil {
		return nil
	}
	return []*os.File{t.file}
}

// set has a slot, from 1, hold a group; 0 for none.
func (t *groupTable) set(slot, group int) {
	if t != nil && slot <= len(t.slots) {
		t.slots[slot-1].Store(int32(group))
	}
}

// all returns the groups that are held.
func (t *groupTable) all() []int {
	if t == nil {
		return nil
	}
	var groups []int
	for i := range t.slots {
		if group := int(t.slots[i].Load()); group > 1 {
			groups = append(groups, group)
		}
	}
	return groups
}

// close gives the file up. The memory stays as long as the process.
func (t *groupTable) close() {
	if t != nil {
		_ = t.file.Close() // nobody reads it again
	}
}
