package server

import "github.com/prometheus/client_golang/prometheus"

// diagnosticsCollector shows what is recorded and kept. No label comes from a worker.
type diagnosticsCollector struct{ service *diagnosticsService }

var (
	artifactsDesc = prometheus.NewDesc("headroom_artifacts",
		"Artifacts that are kept, those that are being written among them.", nil, nil)
	artifactBytesDesc = prometheus.NewDesc("headroom_artifact_bytes",
		"Bytes of all artifacts.", nil, nil)
	recordingsDesc = prometheus.NewDesc("headroom_recordings",
		"Recordings of tasks that go on.", nil, nil)
	transfersDesc = prometheus.NewDesc("headroom_artifact_transfers",
		"Uploads and downloads of artifacts that go on.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c diagnosticsCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{artifactsDesc, artifactBytesDesc, recordingsDesc, transfersDesc} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (c diagnosticsCollector) Collect(out chan<- prometheus.Metric) {
	store := c.service.store.Load()
	if store == nil {
		return // off, or not running yet: there is nothing to show
	}
	bytes, artifacts := store.Used()
	gauge := func(d *prometheus.Desc, v float64) { out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	gauge(artifactsDesc, float64(artifacts))
	gauge(artifactBytesDesc, float64(bytes))
	gauge(recordingsDesc, float64(c.service.recordings.count()))
	gauge(transfersDesc, float64(c.service.transfers.count()))
}
