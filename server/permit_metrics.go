package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headroom-rpc/headroom/permit"
)

// permitCollector shows the account of permits. Its only label with many values is the resource, whose names
// come from the configuration.
type permitCollector struct{ service *permitService }

var (
	permitLimitDesc = prometheus.NewDesc("headroom_permit_limit",
		"Permits of the resource that may be in use.", []string{"resource"}, nil)
	permitShadowDesc = prometheus.NewDesc("headroom_permit_shadow_limit",
		"What a law would let be in use of the host that is tried and not followed.", []string{"law"}, nil)
	permitChargeDesc = prometheus.NewDesc("headroom_permit_charge",
		"Permits that must be assumed to be in use.", []string{"resource"}, nil)
	permitUnknownDesc = prometheus.NewDesc("headroom_permit_unknown",
		"Permits that workers of the server's earlier life may still use.", []string{"resource"}, nil)
	permitHeldDesc = prometheus.NewDesc("headroom_permit_held",
		"Permits under which work runs, as reported.", []string{"resource"}, nil)
	permitWantDesc = prometheus.NewDesc("headroom_permit_want",
		"Permits that could be used, as reported.", []string{"resource"}, nil)
	permitMismatchDesc = prometheus.NewDesc("headroom_permit_mismatches_total",
		"Reports of more than was ever granted.", []string{"resource"}, nil)
	permitSessionsDesc = prometheus.NewDesc("headroom_permit_sessions",
		"Attached workers.", nil, nil)
	permitLeasesDesc = prometheus.NewDesc("headroom_permit_leases",
		"Permits that AcquirePermit and HoldPermit have leased.", nil, nil)
	permitWaitersDesc = prometheus.NewDesc("headroom_permit_waiters",
		"Requests of AcquirePermit and HoldPermit that wait.", nil, nil)
	permitTargetsDesc = prometheus.NewDesc("headroom_permit_targets_sent_total",
		"Targets sent to attached workers.", nil, nil)
	permitGrantsDesc = prometheus.NewDesc("headroom_permit_grants_total",
		"Permits that AcquirePermit and HoldPermit granted.", nil, nil)
	permitExpiriesDesc = prometheus.NewDesc("headroom_permit_expiries_total",
		"Leases of AcquirePermit and HoldPermit that were over before the permit was given back.", nil, nil)
	permitSilencesDesc = prometheus.NewDesc("headroom_permit_session_expiries_total",
		"Attached workers whose charge ended because nothing was heard of them.", nil, nil)
	permitFaultsDesc = prometheus.NewDesc("headroom_permit_journal_faults_total",
		"Writes of the journal that failed. What it lacks is written as soon as that works again.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *permitCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		permitLimitDesc, permitShadowDesc, permitChargeDesc, permitUnknownDesc, permitHeldDesc, permitWantDesc,
		permitMismatchDesc,
		permitSessionsDesc, permitLeasesDesc, permitWaitersDesc, permitTargetsDesc, permitGrantsDesc,
		permitExpiriesDesc, permitSilencesDesc, permitFaultsDesc,
	} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (c *permitCollector) Collect(out chan<- prometheus.Metric) {
	a, err := c.service.arbiter()
	if err != nil {
		return // not running yet: there is nothing to show
	}
	accounts, counts, err := a.counts()
	if err != nil {
		return // the server ends
	}
	show := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	for i := range accounts {
		r := &accounts[i]
		show(permitLimitDesc, prometheus.GaugeValue, float64(r.Limit), r.Resource)
		show(permitChargeDesc, prometheus.GaugeValue, float64(r.Charge), r.Resource)
		show(permitUnknownDesc, prometheus.GaugeValue, float64(r.Unknown), r.Resource)
		show(permitHeldDesc, prometheus.GaugeValue, float64(r.Held), r.Resource)
		show(permitWantDesc, prometheus.GaugeValue, float64(r.Want), r.Resource)
		show(permitMismatchDesc, prometheus.CounterValue, float64(r.Mismatches), r.Resource)
	}
	shown := make(map[string]bool)
	for _, s := range c.service.regime.shadows() {
		if !shown[s.GetLaw()] { // of two with one name the first
			shown[s.GetLaw()] = true
			show(permitShadowDesc, prometheus.GaugeValue, float64(s.GetLimit()), s.GetLaw())
		}
	}
	show(permitSessionsDesc, prometheus.GaugeValue, float64(counts.sessions))
	show(permitLeasesDesc, prometheus.GaugeValue, float64(counts.leases))
	show(permitWaitersDesc, prometheus.GaugeValue, float64(counts.waiters))
	show(permitTargetsDesc, prometheus.CounterValue, float64(counts.targets))
	show(permitGrantsDesc, prometheus.CounterValue, float64(counts.grants))
	show(permitExpiriesDesc, prometheus.CounterValue, float64(counts.expiries))
	show(permitSilencesDesc, prometheus.CounterValue, float64(counts.silences))
	show(permitFaultsDesc, prometheus.CounterValue, float64(counts.faults))
}

// permitCounts are the numbers of an arbiter at one instant.
type permitCounts struct {
	arbiterCounters
	sessions, leases, waiters int
	silences                  uint64
}

func (a *arbiter) counts() (accounts []permit.ResourceAccount, counts permitCounts, err error) {
	now, err := a.enter()
	if err != nil {
		return nil, counts, err
	}
	defer a.leave(&err)
	for _, name := range a.ledger.Resources() {
		if account, err := a.ledger.Account(now, name); err == nil {
			accounts = append(accounts, account)
		}
	}
	return accounts, permitCounts{
		a.counters, len(a.streams), len(a.queues.leases), a.queues.waiting, a.ledger.Expired(),
	}, nil
}
