package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headroom-rpc/headroom/snapshot/host"
)

// countersWait bounds how long a scrape waits for the counters of disks and networks.
const countersWait = time.Second

var (
	sourceReadsDesc   = prometheus.NewDesc("headroom_source_reads_total", "Readings of the source.", []string{"source"}, nil)
	sourceErrorsDesc  = prometheus.NewDesc("headroom_source_errors_total", "Readings that failed.", []string{"source"}, nil)
	sourceSecondsDesc = prometheus.NewDesc("headroom_source_seconds_total",
		"Time that the readings took, by the clock.", []string{"source"}, nil)
	diskBytesDesc = prometheus.NewDesc("headroom_disk_bytes_total",
		"Bytes that the disks of the host moved since boot.", []string{"direction"}, nil)
	diskOperationsDesc = prometheus.NewDesc("headroom_disk_operations_total",
		"Requests that the disks of the host completed since boot.", []string{"direction"}, nil)
	diskBusyDesc = prometheus.NewDesc("headroom_disk_busy_seconds_total",
		"Time with a request in progress since boot, added up over the disks.", nil, nil)
	netBytesDesc = prometheus.NewDesc("headroom_network_bytes_total",
		"Bytes that the network interfaces of the host moved since boot, without the loopback.", []string{"direction"}, nil)
	netErrorsDesc = prometheus.NewDesc("headroom_network_errors_total",
		"Errors of the network interfaces of the host since boot.", []string{"direction"}, nil)
	netDropsDesc = prometheus.NewDesc("headroom_network_drops_total",
		"Packets that the network interfaces of the host dropped since boot.", []string{"direction"}, nil)
)

// hostCollector shows what reading the host costs, and what its disks and network interfaces do.
type hostCollector struct{ host *host.Host }

// Describe implements prometheus.Collector.
func (hostCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		sourceReadsDesc, sourceErrorsDesc, sourceSecondsDesc, diskBytesDesc, diskOperationsDesc, diskBusyDesc,
		netBytesDesc, netErrorsDesc, netDropsDesc,
	} {
		descs <- d
	}
}

// Collect implements prometheus.Collector. What cannot be read is left out; the errors of the source "counters"
// tell of it.
func (c hostCollector) Collect(out chan<- prometheus.Metric) {
	counter := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), countersWait)
	defer cancel()
	counters, _ := c.host.Counters(ctx)
	if d := &counters.Disk; counters.DiskKnown {
		counter(diskBytesDesc, float64(d.ReadBytes), "read")
		counter(diskBytesDesc, float64(d.WrittenBytes), "write")
		counter(diskOperationsDesc, float64(d.Reads), "read")
		counter(diskOperationsDesc, float64(d.Writes), "write")
		counter(diskBusyDesc, d.BusyTime.Seconds())
	}
	if n := &counters.Net; counters.NetKnown {
		counter(netBytesDesc, float64(n.ReceivedBytes), "receive")
		counter(netBytesDesc, float64(n.SentBytes), "send")
		counter(netErrorsDesc, float64(n.ReceiveErrors), "receive")
		counter(netErrorsDesc, float64(n.SendErrors), "send")
		counter(netDropsDesc, float64(n.ReceiveDrops), "receive")
		counter(netDropsDesc, float64(n.SendDrops), "send")
	}
	for _, cost := range c.host.Costs() {
		counter(sourceReadsDesc, float64(cost.Reads), cost.Name)
		counter(sourceErrorsDesc, float64(cost.Errors), cost.Name)
		counter(sourceSecondsDesc, cost.Total.Seconds(), cost.Name)
	}
}
