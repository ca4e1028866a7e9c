package server

import (
	"github.com/prometheus/client_golang/prometheus"
)

// taskCollector shows how the sampling of tasks keeps up.
type taskCollector struct{ service *taskService }

var (
	tasksDesc = prometheus.NewDesc("headroom_tasks", "Tasks that have not ended.", nil, nil)

	taskPassesDesc = prometheus.NewDesc("headroom_task_passes_total",
		"Passes over the processes of the host.", nil, nil)
	taskFailuresDesc = prometheus.NewDesc("headroom_task_pass_failures_total",
		"Passes over the processes of the host that failed.", nil, nil)
	taskCostDesc = prometheus.NewDesc("headroom_task_pass_seconds",
		"CPU time that the last pass over the processes took.", nil, nil)
	taskIntervalDesc = prometheus.NewDesc("headroom_task_interval_seconds",
		"Least time between two samples of a task: as configured, or 100 times the cost of a pass.", nil, nil)
	taskLagDesc    = prometheus.NewDesc("headroom_task_lag_seconds", "How late the last pass was.", nil, nil)
	taskMissedDesc = prometheus.NewDesc("headroom_task_samples_missed_total",
		"Samples of tasks that were left out because a pass was late.", nil, nil)
	taskUnreadableDesc = prometheus.NewDesc("headroom_task_processes_unreadable",
		"Processes of the host that the last pass could not read.", nil, nil)
	taskHistoryDesc = prometheus.NewDesc("headroom_task_history_bytes", "Memory of the histories of all tasks.", nil, nil)
	taskFilesDesc   = prometheus.NewDesc("headroom_task_files_held", "Files of processes that are kept open.", nil, nil)
	taskHungDesc    = prometheus.NewDesc("headroom_task_mounts_hung",
		"Mounts that do not answer, so that the folders of tasks on them are unknown.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *taskCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{tasksDesc, taskPassesDesc, taskFailuresDesc, taskCostDesc, taskIntervalDesc,
		taskLagDesc, taskMissedDesc, taskUnreadableDesc, taskHistoryDesc, taskFilesDesc, taskHungDesc} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (c *taskCollector) Collect(out chan<- prometheus.Metric) {
	s := c.service
	s.mu.Lock()
	h, held := s.monitor.Health(), s.held
	s.mu.Unlock()
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64) {
		out <- prometheus.MustNewConstMetric(d, kind, v)
	}
	send(tasksDesc, prometheus.GaugeValue, float64(h.Tasks))
	send(taskPassesDesc, prometheus.CounterValue, float64(h.Passes))
	send(taskFailuresDesc, prometheus.CounterValue, float64(h.Failed))
	send(taskCostDesc, prometheus.GaugeValue, h.Cost.Seconds())
	send(taskIntervalDesc, prometheus.GaugeValue, h.Interval.Seconds())
	send(taskLagDesc, prometheus.GaugeValue, h.Lag.Seconds())
	send(taskMissedDesc, prometheus.CounterValue, float64(h.Missed))
	send(taskUnreadableDesc, prometheus.GaugeValue, float64(h.Unreadable))
	send(taskHistoryDesc, prometheus.GaugeValue, float64(h.HistoryBytes))
	send(taskFilesDesc, prometheus.GaugeValue, float64(held))
	send(taskHungDesc, prometheus.GaugeValue, float64(s.disk.Hung()))
}
