package server

import (
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headroom-rpc/headroom/severity"
)

// severityCollector shows the severity of the machine.
type severityCollector struct {
	runner      *severity.Runner
	transitions *prometheus.CounterVec
}

func newSeverityCollector(runner *severity.Runner) *severityCollector {
	return &severityCollector{
		runner: runner,
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headroom_severity_transitions_total",
			Help: "Steps of the severity level of the machine.",
		}, []string{"from", "to"}),
	}
}

var severityLevelDesc = prometheus.NewDesc("headroom_severity_level",
	"Severity level of the machine; 0 is normal. Absent until it was judged.", nil, nil)

// Describe implements prometheus.Collector.
func (c *severityCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- severityLevelDesc
	c.transitions.Describe(descs)
}

// Collect implements prometheus.Collector.
func (c *severityCollector) Collect(out chan<- prometheus.Metric) {
	if report, _ := c.runner.Latest(); !report.Time.IsZero() {
		out <- prometheus.MustNewConstMetric(severityLevelDesc, prometheus.GaugeValue, float64(report.Level))
	}
	c.transitions.Collect(out)
}

// count counts transitions until ctx is done.
func (c *severityCollector) count(ctx context.Context) {
	for last := uint64(0); ; {
		list, changed, err := c.runner.History().After(last)
		if err != nil {
			last = c.runner.History().Last() // evicted meanwhile; from here on it counts again
			continue
		}
		for i := range list {
			c.transitions.WithLabelValues(strconv.Itoa(list[i].From), strconv.Itoa(list[i].To)).Inc()
			last = list[i].Sequence
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
