package coreedge

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// metrics counts what becomes of the ways to the core.
type metrics struct {
	failures *prometheus.CounterVec // transport
	listed   *prometheus.CounterVec // transport
	returned *prometheus.CounterVec // transport
	probes   *prometheus.CounterVec // result
	lookups  *prometheus.CounterVec // result
}

// newMetrics registers the collectors of e with reg; nil makes them unregistered, for tests.
func newMetrics(reg prometheus.Registerer, e *Edge) *metrics {
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		failures: vec("isthmus_mgc_core_target_failures_total", "Requests that a target of the core did not take: unreachable, silent or 503.", "transport"),
		listed:   vec("isthmus_mgc_core_blacklistings_total", "Targets put on the blacklist.", "transport"),
		returned: vec("isthmus_mgc_core_recoveries_total", "Blacklisted targets that answered again.", "transport"),
		probes:   vec("isthmus_mgc_core_probes_total", "OPTIONS sent to the targets of the next hop, by result.", "result"),
		lookups:  vec("isthmus_mgc_core_lookups_total", "Resolutions of names by RFC 3263, by result; answers from the cache are not counted.", "result"),
	}
	if reg != nil {
		reg.MustRegister(m.failures, m.listed, m.returned, m.probes, m.lookups, targets{e})
	}
	return m
}

// targets shows at each scrape the state of the targets that the next hop has at the moment.
type targets struct{ e *Edge }

var (
	targetUp = prometheus.NewDesc("isthmus_mgc_core_target_up", "1 for a target of the next hop that is used, 0 for a blacklisted one.", []string{"transport", "address"}, nil)
	listNow  = prometheus.NewDesc("isthmus_mgc_core_blacklisted", "Targets on the blacklist.", nil, nil)
)

// Describe implements prometheus.Collector.
func (t targets) Describe(c chan<- *prometheus.Desc) { c <- targetUp; c <- listNow }

// Collect implements prometheus.Collector.
func (t targets) Collect(c chan<- prometheus.Metric) {
	now := time.Now()
	c <- prometheus.MustNewConstMetric(listNow, prometheus.GaugeValue, float64(t.e.down.count(now)))
	seen := make(map[siptransport.Hop]bool)
	for _, h := range t.e.nextHops() {
		h.Name = "" // one label set per place
		if seen[h] {
			continue
		}
		seen[h] = true
		up := 1.0
		if t.e.down.has(h, now) {
			up = 0
		}
		c <- prometheus.MustNewConstMetric(targetUp, prometheus.GaugeValue, up, h.Transport, h.Addr.String())
	}
}
