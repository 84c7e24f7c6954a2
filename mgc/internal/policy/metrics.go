package policy

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what passes between us and the policy function. Make it once per process.
type Metrics struct {
	requests  *prometheus.CounterVec   // operation, result
	seconds   *prometheus.HistogramVec // operation
	verdicts  *prometheus.CounterVec   // verdict
	passed    *prometheus.CounterVec   // reason
	sessions  prometheus.Gauge
	late      prometheus.Counter
	foreign   prometheus.Counter
	deletes   prometheus.Gauge
	abandoned prometheus.Counter
	events    *prometheus.CounterVec // kind
	dropped   prometheus.Counter
	callbacks *prometheus.CounterVec // reason
	tokens    *prometheus.CounterVec // result
}

// NewMetrics registers the policy metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "isthmus_mgc_policy_" + name, Help: help})
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_policy_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "isthmus_mgc_policy_" + name, Help: help})
	}
	m := &Metrics{
		requests: vector("requests_total", "Requests to the policy function, by operation and HTTP status or failure.", "operation", "result"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "isthmus_mgc_policy_request_seconds", Help: "Time until the policy function's answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}, []string{"operation"}),
		verdicts:  vector("refusals_total", "Calls and changes refused, by verdict.", "verdict"),
		passed:    vector("passed_total", "Calls and changes that went on without a grant, by reason.", "reason"),
		sessions:  gauge("sessions", "Application sessions of calls of this instance."),
		late:      counter("late_creates_total", "Application sessions made after nobody waited any more, and deleted."),
		foreign:   counter("foreign_locations_total", "Application sessions lost because their Location is on a host that is not allowed."),
		deletes:   gauge("deletes_pending", "Deletions not acknowledged yet."),
		abandoned: counter("deletes_abandoned_total", "Deletions given up."),
		events:    vector("events_total", "Events reported, by kind.", "kind"),
		dropped:   counter("events_dropped_total", "Events dropped because they came with a response while nobody read."),
		callbacks: vector("callbacks_refused_total", "Notifications refused, by reason.", "reason"),
		tokens:    vector("token_requests_total", "Requests for access tokens, by result.", "result"),
	}
	r.MustRegister(m.requests, m.seconds, m.verdicts, m.passed, m.sessions, m.late, m.foreign, m.deletes, m.abandoned, m.events, m.dropped, m.callbacks, m.tokens)
	return m
}
