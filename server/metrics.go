package server

import (
	"runtime"
	"time"

	grpcprometheus "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/headroom-rpc/headroom/snapshot"
)

// customLabel stands for all custom signals in a label: their names come from callers.
const customLabel = "custom"

// metrics is what /metrics shows, in a registry of the server's own.
type metrics struct {
	registry *prometheus.Registry
	calls    *grpcprometheus.ServerMetrics

	sampleErrors *prometheus.CounterVec
	counted      map[string]time.Duration // label to the time of the newest failed reading counted
}

func newMetrics(version string, view func() (snapshot.View, error), h *hub, g *guard, others ...prometheus.Collector) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		calls:    grpcprometheus.NewServerMetrics(),
		sampleErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headroom_sample_errors_total",
			Help: "Readings that could not be made.",
		}, []string{"signal"}),
		counted: make(map[string]time.Duration),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "headroom_build_info",
		Help:        "1, with the version of the server and of Go as labels.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	info.Set(1)
	m.registry.MustRegister(
		m.calls, m.sampleErrors, info, &loadCollector{view: view},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "headroom_stream_subscribers",
			Help: "Open state streams.",
		}, func() float64 { return float64(h.subscribers()) }),
		counterFunc("headroom_stream_states_sent_total", "States sent to all state streams.", h.sent.Load),
		counterFunc("headroom_stream_skipped_states_total",
			"States that a slow reader was not sent because a newer one replaced them.", h.skipped.Load),
		counterFunc("headroom_stream_slow_readers_total",
			"State streams that were ended because their reader did not read.", h.slow.Load),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "headroom_connections",
			Help: "Open gRPC connections.",
		}, func() float64 { return float64(g.counts().open) }),
		connectionsClosed("limit", g.refused.Load),
		connectionsClosed("resets", g.cutForResets.Load),
		connectionsClosed("stalls", g.cutForStalls.Load),
	)
	m.registry.MustRegister(others...)
	return m
}

func counterFunc(name, help string, value func() uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
		func() float64 { return float64(value()) })
}

func connectionsClosed(reason string, value func() int64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name:        "headroom_connections_closed_total",
		Help:        "gRPC connections that the server closed: over a limit, for resetting streams, for not reading.",
		ConstLabels: prometheus.Labels{"reason": reason},
	}, func() float64 { return float64(value()) })
}

// countErrors counts the readings of view that failed and were not counted before. Not safe for concurrent
// use; the hub's loop calls it.
func (m *metrics) countErrors(view *snapshot.View) {
	newest := make(map[string]time.Duration)
	for i := range view.Newest {
		snap := &view.Newest[i]
		label := signalLabel(snap.Signal, snap.Resource)
		if snap.Known() || snap.At <= m.counted[label] && m.counted[label] != 0 {
			continue
		}
		m.sampleErrors.WithLabelValues(label).Inc()
		newest[label] = max(newest[label], snap.At)
	}
	for label, at := range newest {
		m.counted[label] = at
	}
}

// signalLabel returns the name of a built-in signal, and one label for all others.
func signalLabel(signal string, resource snapshot.Resource) string {
	if resource == snapshot.Custom {
		return customLabel
	}
	return signal
}

// loadCollector shows the load at the time of the scrape.
type loadCollector struct {
	view func() (snapshot.View, error)
}

var (
	usedRatioDesc = prometheus.NewDesc("headroom_resource_used_ratio",
		"Share of the resource in use, by the newest good reading.", []string{"resource"}, nil)
	limitDesc = prometheus.NewDesc("headroom_resource_limit",
		"Bound over which a reading of the resource is overloaded.", []string{"resource", "unit"}, nil)
	loopDelayDesc = prometheus.NewDesc("headroom_event_loop_delay_seconds",
		"Event-loop delay of the newest good reading.", nil, nil)
	overloadedDesc = prometheus.NewDesc("headroom_resource_overloaded",
		"1 while the resource is overloaded within the window, else 0. Absent while it is unknown.",
		[]string{"resource", "window"}, nil)
	sampleAgeDesc = prometheus.NewDesc("headroom_sample_age_seconds",
		"Age of the newest good reading; of the oldest of them for custom signals.", []string{"signal"}, nil)
)

// Describe implements prometheus.Collector.
func (c *loadCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{usedRatioDesc, limitDesc, loopDelayDesc, overloadedDesc, sampleAgeDesc} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (c *loadCollector) Collect(out chan<- prometheus.Metric) {
	view, err := c.view()
	if err != nil {
		return // not sampling yet, or no longer: there is nothing to show
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	ages := make(map[string]float64)
	for i := range view.Current.Signals {
		s := &view.Current.Signals[i]
		if !s.HasValue {
			continue
		}
		label := signalLabel(s.Signal, s.Resource)
		ages[label] = max(ages[label], s.Age.Seconds())
		if s.Resource == snapshot.Custom {
			continue
		}
		gauge(limitDesc, s.Bound, label, s.Resource.Unit())
		switch s.Resource.Unit() {
		case "ratio":
			gauge(usedRatioDesc, s.Value, label)
		case "seconds":
			gauge(loopDelayDesc, s.Value)
		}
	}
	for label, age := range ages {
		gauge(sampleAgeDesc, age, label)
	}
	overloadedGauges(&view.Current, "current", gauge)
	overloadedGauges(&view.Historical, "historical", gauge)
}

func overloadedGauges(status *snapshot.Status, window string, gauge func(*prometheus.Desc, float64, ...string)) {
	overloaded := make(map[string]float64)
	for i := range status.Signals {
		s := &status.Signals[i]
		label := signalLabel(s.Signal, s.Resource)
		switch s.State {
		case snapshot.StateOverloaded:
			overloaded[label] = 1
		case snapshot.StateIdle:
			overloaded[label] = max(overloaded[label], 0)
		}
	}
	for label, value := range overloaded {
		gauge(overloadedDesc, value, label, window)
	}
}
