package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// maxDevices bounds the disks, and the network interfaces, that are told one by one.
const maxDevices = 64

// A countersSource reads the counters of the disks and the network interfaces. It is not safe for concurrent use.
type countersSource struct{ disks, interfaces *kernelFile }

// newCountersSource returns a source that has read nothing yet. The interfaces are those of the network namespace of
// this process, or of the first process of the host where that is mounted elsewhere.
func newCountersSource(proc string) *countersSource {
	process := "self"
	if proc != procfs {
		process = "1"
	}
	return &countersSource{
		disks:      newRecordFile(filepath.Join(proc, "diskstats")),
		interfaces: newRecordFile(filepath.Join(proc, process, "net", "dev")),
	}
}

func (s *countersSource) read(context.Context, time.Time) (Counters, error) {
	var c Counters
	text, diskErr := s.disks.read()
	if diskErr == nil {
		if diskErr = parseDiskstats(text, &c); diskErr != nil {
			diskErr = fmt.Errorf("parse %s: %w", s.disks.name, diskErr)
		}
	}
	if diskErr != nil {
		c = Counters{}
	}
	withDisks := c
	text, netErr := s.interfaces.read()
	if netErr == nil {
		if netErr = parseNetDev(text, &c); netErr != nil {
			netErr = fmt.Errorf("parse %s: %w", s.interfaces.name, netErr)
		}
	}
	if netErr != nil {
		c = withDisks
	}
	c.DiskKnown, c.NetKnown = diskErr == nil, netErr == nil
	return c, errors.Join(diskErr, netErr)
}

func (s *countersSource) close() {
	s.disks.close()
	s.interfaces.close()
}

// parseDiskstats parses /proc/diskstats (Documentation/admin-guide/iostats.rst) into the disks of c and their sum:
//
//	254       0 vda 1330536 115560 37283514 2117317 261345 540976 55292880 335213 0 280996 2540979 …
//
// After the device's numbers and its name come, for reads and then for writes, the requests completed and merged, the
// sectors of 512 bytes and the ms they took, then the requests in progress and the ms in which there were any.
func parseDiskstats(text []byte, c *Counters) error {
	const (
		fields     = 10 // of those that follow the name, those that are needed
		sectorSize = 512
	)
	var whole []byte // the newest disk that is no partition
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		major, rest := cutField(line)
		minor, rest := cutField(rest)
		name, rest := cutField(rest)
		_, ok1 := digits(major)
		_, ok2 := digits(minor)
		var n [fields]uint64
		if ok := cutNumbers(rest, n[:]); !ok || !ok1 || !ok2 || len(name) == 0 {
			return fmt.Errorf("%s is no disk", quote(line))
		}
		if isPartition(name, whole) {
			continue
		}
		whole = name
		disk := DiskCounters{
			Reads: n[0], ReadBytes: n[2] * sectorSize, ReadTime: milliseconds(n[3]),
			Writes: n[4], WrittenBytes: n[6] * sectorSize, WriteTime: milliseconds(n[7]),
			BusyTime: milliseconds(n[9]),
		}
		stored := storedOn(name)
		if stored == onDisks {
			c.Disk.add(disk)
		}
		if stored == inMemory {
			continue
		}
		if len(c.Disks) == maxDevices {
			c.Omitted++
			continue
		}
		c.Disks = append(c.Disks, Disk{Name: string(name), DiskCounters: disk})
	}
	return nil
}

func (d *DiskCounters) add(more DiskCounters) {
	d.Reads += more.Reads
	d.Writes += more.Writes
	d.ReadBytes += more.ReadBytes
	d.WrittenBytes += more.WrittenBytes
	d.ReadTime += more.ReadTime
	d.WriteTime += more.WriteTime
	d.BusyTime += more.BusyTime
}

// isPartition reports whether the device is a part of the disk: the kernel lists the parts of a disk behind it. The
// name of a part is that of the disk and a number, with a p between them where the disk's ends in a digit.
func isPartition(name, disk []byte) bool {
	part, ok := bytes.CutPrefix(name, disk)
	if !ok || len(disk) == 0 || len(part) == 0 {
		return false
	}
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		if part, ok = bytes.CutPrefix(part, []byte("p")); !ok {
			return false
		}
	}
	_, ok = digits(part)
	return ok
}

// A storage says where a device keeps what is written to it.
type storage uint8

const (
	onDisks  storage = iota // on itself
	onOthers                // on other disks
	inMemory                // in memory, or in files
)

// storedOn returns where the device keeps what is written to it. The names are those of the kernel's drivers.
func storedOn(name []byte) storage {
	driver := strings.TrimRight(string(name), "0123456789")
	switch driver {
	case "dm-", "md", "md_d", "bcache", "drbd", "zd":
		return onOthers
	case "loop", "ram", "zram":
		return inMemory
	default:
		return onDisks
	}
}

func milliseconds(n uint64) time.Duration {
	return time.Duration(min(n, uint64(maxDuration/time.Millisecond))) * time.Millisecond
}

const maxDuration = time.Duration(1<<63 - 1)

// parseNetDev parses /proc/net/dev into the interfaces of c and their sum:
//
//	eth0: 335204520   22409    0    0    0     0          0         0  2074402   19821    0    0    0     0       0 …
//
// Two lines of headings come first. After the name come the bytes, packets, errors and drops received and four more,
// then the same of what was sent. The kernel lets no name hold a colon.
func parseNetDev(text []byte, c *Counters) error {
	const (
		fields   = 16
		headings = 2
	)
	for i := range headings {
		var line []byte
		if line, text = cutLine(text); bytes.Count(line, []byte("|")) != 2 {
			return fmt.Errorf("line %d, %s, is no heading", i+1, quote(line))
		}
	}
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		name, rest, ok := bytes.Cut(line, []byte(":"))
		name = bytes.TrimLeft(name, " ")
		var n [fields]uint64
		if !ok || len(name) == 0 || !cutNumbers(rest, n[:]) {
			return fmt.Errorf("%s is no network interface", quote(line))
		}
		counters := NetCounters{
			ReceivedBytes: n[0], ReceivedPackets: n[1], ReceiveErrors: n[2], ReceiveDrops: n[3],
			SentBytes: n[8], SentPackets: n[9], SendErrors: n[10], SendDrops: n[11],
		}
		if string(name) != "lo" {
			c.Net.add(counters)
		}
		if len(c.Interfaces) == maxDevices {
			c.Omitted++
			continue
		}
		c.Interfaces = append(c.Interfaces, Interface{Name: string(name), NetCounters: counters})
	}
	return nil
}

func (n *NetCounters) add(more NetCounters) {
	n.ReceivedBytes += more.ReceivedBytes
	n.ReceivedPackets += more.ReceivedPackets
	n.ReceiveErrors += more.ReceiveErrors
	n.ReceiveDrops += more.ReceiveDrops
	n.SentBytes += more.SentBytes
	n.SentPackets += more.SentPackets
	n.SendErrors += more.SendErrors
	n.SendDrops += more.SendDrops
}

// cutNumbers parses as many fields of text as into has room for. More may follow.
func cutNumbers(text []byte, into []uint64) bool {
	for i := range into {
		var field []byte
		field, text = cutField(text)
		n, ok := digits(field)
		if !ok {
			return false
		}
		into[i] = n
	}
	return true
}
