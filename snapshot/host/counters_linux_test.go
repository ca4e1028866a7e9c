package host_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/net"

	"github.com/headroom-rpc/headroom/snapshot/host"
)

const netHeading = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
`

func countersOf(t *testing.T, f files) (host.Counters, error) {
	t.Helper()
	root := t.TempDir()
	f.write(t, root)
	h, err := host.Open(host.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	return h.Counters(t.Context())
}

func TestCounters(t *testing.T) {
	got, err := countersOf(t, files{
		"proc/diskstats": `   7       0 loop0 9 9 9 9 9 9 9 9 9 9 9 0 0 0 0 0 0
 259       0 nvme0n1 10 1 200 30 5 1 400 60 0 70 90 0 0 0 0
 259       1 nvme0n1p1 9 9 9 9 9 9 9 9 9 9 9 0 0 0 0
 259       2 nvme0n1p12 9 9 9 9 9 9 9 9 9 9 9
 259       3 nvme0n10 1 0 2 3 4 0 5 6 0 7 9 0 0 0 0
   8       0 sda 100 0 2000 300 50 0 4000 600 0 700 900
   8       1 sda1 9 9 9 9 9 9 9 9 9 9 9
   8      16 sdb 0 0 0 0 0 0 0 0 0 0 0
   8      17 sdb1 9 9 9 9 9 9 9 9 9 9 9
 253       0 dm-0 7 0 8 9 1 0 2 3 0 4 5
   9       0 md127 1 0 1 1 1 0 1 1 0 1 1
 253       1 zram0 9 9 9 9 9 9 9 9 9 9 9
`,
		"proc/1/net/dev": netHeading + `    lo: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0
  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0
wlan0:100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0
`,
	})
	if err != nil {
		t.Fatal(err)
	}
	ms := time.Millisecond
	sda := host.DiskCounters{Reads: 100, ReadBytes: 1_024_000, ReadTime: 300 * ms, Writes: 50, WrittenBytes: 2_048_000, WriteTime: 600 * ms, BusyTime: 700 * ms}
	want := host.Counters{
		DiskKnown: true, NetKnown: true,
		Disk: host.DiskCounters{Reads: 111, ReadBytes: 2202 * 512, ReadTime: 333 * ms, Writes: 59, WrittenBytes: 4405 * 512, WriteTime: 666 * ms, BusyTime: 777 * ms},
		Disks: []host.Disk{
			{"nvme0n1", host.DiskCounters{Reads: 10, ReadBytes: 200 * 512, ReadTime: 30 * ms, Writes: 5, WrittenBytes: 400 * 512, WriteTime: 60 * ms, BusyTime: 70 * ms}},
			{"nvme0n10", host.DiskCounters{Reads: 1, ReadBytes: 2 * 512, ReadTime: 3 * ms, Writes: 4, WrittenBytes: 5 * 512, WriteTime: 6 * ms, BusyTime: 7 * ms}},
			{"sda", sda},
			{"sdb", host.DiskCounters{}},
			{"dm-0", host.DiskCounters{Reads: 7, ReadBytes: 8 * 512, ReadTime: 9 * ms, Writes: 1, WrittenBytes: 2 * 512, WriteTime: 3 * ms, BusyTime: 4 * ms}},
			{"md127", host.DiskCounters{Reads: 1, ReadBytes: 512, ReadTime: ms, Writes: 1, WrittenBytes: 512, WriteTime: ms, BusyTime: ms}},
		},
		Net: host.NetCounters{ReceivedBytes: 1100, ReceivedPackets: 11, ReceiveErrors: 1, ReceiveDrops: 2, SentBytes: 2200, SentPackets: 22, SendErrors: 3, SendDrops: 4},
		Interfaces: []host.Interface{
			{"lo", host.NetCounters{ReceivedBytes: 9, ReceivedPackets: 9, ReceiveErrors: 9, ReceiveDrops: 9, SentBytes: 9, SentPackets: 9, SendErrors: 9, SendDrops: 9}},
			{"eth0", host.NetCounters{ReceivedBytes: 1000, ReceivedPackets: 10, ReceiveErrors: 1, ReceiveDrops: 2, SentBytes: 2000, SentPackets: 20, SendErrors: 3, SendDrops: 4}},
			{"wlan0", host.NetCounters{ReceivedBytes: 100, ReceivedPackets: 1, SentBytes: 200, SentPackets: 2}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Counters = %+v\nwant %+v", got, want)
	}
}

// One half that cannot be read leaves the other.
func TestCountersThatAreNotKnown(t *testing.T) {
	const sda, eth0 = "8 0 sda 1 0 2 3 4 0 5 6 0 7 9\n", "eth0: 1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0\n"
	tests := []struct {
		name       string
		disks, net string // removed: no such file
		disk, nets bool
		err        string
	}{
		{"no disks", removed, netHeading + eth0, false, true, "diskstats"},
		{"no interfaces", sda, removed, true, false, "dev"},
		{"a line cut short", sda + "8 1 sdb 1 0 2\n", netHeading + eth0, false, true, "sdb"},
		{"not a number", sda + "8 1 sdb 1 0 2 3 x 0 5 6 0 7 9\n", netHeading + eth0, false, true, "sdb"},
		{"an interface cut short", sda, netHeading + eth0 + "eth1: 1 1\n", true, false, "eth1"},
		{"no heading", sda, eth0 + eth0, true, false, "heading"},
		{"nothing there", "", netHeading, true, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := countersOf(t, files{"proc/diskstats": tt.disks, "proc/1/net/dev": tt.net})
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error = %v, want one with %q", err, tt.err)
			}
			if got.DiskKnown != tt.disk || got.NetKnown != tt.nets {
				t.Errorf("DiskKnown, NetKnown = %v, %v; want %v, %v", got.DiskKnown, got.NetKnown, tt.disk, tt.nets)
			}
			if !tt.disk && (got.Disk != host.DiskCounters{} || got.Disks != nil) || !tt.nets && (got.Net != host.NetCounters{} || got.Interfaces != nil) {
				t.Errorf("Counters = %+v, want nothing of what is not known", got)
			}
		})
	}
}

func TestCountersAreBounded(t *testing.T) {
	var disks, interfaces strings.Builder
	for i := range 200 {
		fmt.Fprintf(&disks, "8 %d sd%c%c 1 0 2 3 4 0 5 6 0 7 9\n", i, 'a'+i/26, 'a'+i%26)
		fmt.Fprintf(&interfaces, "veth%d: 1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0\n", i)
	}
	got, err := countersOf(t, files{"proc/diskstats": disks.String(), "proc/1/net/dev": netHeading + interfaces.String()})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Disks) != 64 || len(got.Interfaces) != 64 || got.Omitted != 2*(200-64) || got.Disk.Reads != 200 || got.Net.SentPackets != 200 {
		t.Errorf("%d disks and %d interfaces, %d omitted, sums of %d and %d; want 64 and 64, 272 omitted, sums of 200",
			len(got.Disks), len(got.Interfaces), got.Omitted, got.Disk.Reads, got.Net.SentPackets)
	}
}

// gopsutil reads before and after, and counters only grow.
func TestCountersAgainstGopsutil(t *testing.T) {
	read := func() (map[string]disk.IOCountersStat, map[string]net.IOCountersStat) {
		disks, err := disk.IOCounters()
		if err != nil {
			t.Skip(err)
		}
		list, err := net.IOCounters(true)
		if err != nil {
			t.Skip(err)
		}
		interfaces := map[string]net.IOCountersStat{}
		for _, i := range list {
			interfaces[i.Name] = i
		}
		return disks, interfaces
	}
	h, err := host.Open(host.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	disksBefore, netBefore := read()
	got, err := h.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	disksAfter, netAfter := read()
	between := func(name string, before, got, after uint64) {
		if got < before || got > after {
			t.Errorf("%s = %d, want %d to %d", name, got, before, after)
		}
	}
	for _, d := range got.Disks {
		b, a := disksBefore[d.Name], disksAfter[d.Name]
		between(d.Name+" reads", b.ReadCount, d.Reads, a.ReadCount)
		between(d.Name+" writes", b.WriteCount, d.Writes, a.WriteCount)
		between(d.Name+" read bytes", b.ReadBytes, d.ReadBytes, a.ReadBytes)
		between(d.Name+" written bytes", b.WriteBytes, d.WrittenBytes, a.WriteBytes)
		between(d.Name+" busy ms", b.IoTime, uint64(d.BusyTime/time.Millisecond), a.IoTime)
	}
	var sumBefore, sum, sumAfter uint64
	for _, i := range got.Interfaces {
		b, a := netBefore[i.Name], netAfter[i.Name]
		between(i.Name+" received bytes", b.BytesRecv, i.ReceivedBytes, a.BytesRecv)
		between(i.Name+" sent packets", b.PacketsSent, i.SentPackets, a.PacketsSent)
		between(i.Name+" receive drops", b.Dropin, i.ReceiveDrops, a.Dropin)
		if i.Name != "lo" {
			sumBefore, sum, sumAfter = sumBefore+b.BytesRecv, sum+i.ReceivedBytes, sumAfter+a.BytesRecv
		}
	}
	between("sum of received bytes", sumBefore, got.Net.ReceivedBytes, sumAfter)
	if got.Omitted == 0 && sum != got.Net.ReceivedBytes {
		t.Errorf("Net.ReceivedBytes = %d, want the sum %d", got.Net.ReceivedBytes, sum)
	}
}
