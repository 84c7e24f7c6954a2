package siptx

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what the layer does.
type Metrics struct {
	live      *prometheus.GaugeVec   // side
	repeats   *prometheus.CounterVec // direction
	failed    *prometheus.CounterVec // cause
	refused   *prometheus.CounterVec // cause
	unmatched prometheus.Counter
}

// NewMetrics registers the collectors with reg; nil makes them unregistered, for tests.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		live: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "isthmus_mgc_sip_transactions", Help: "Live SIP transactions by side.",
		}, []string{"side"}),
		repeats: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgc_sip_retransmissions_total", Help: "Retransmissions sent and received.",
		}, []string{"direction"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgc_sip_transactions_failed_total", Help: "Client transactions without a response, by cause.",
		}, []string{"cause"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgc_sip_requests_refused_total", Help: "Requests answered 503 before a transaction, by cause.",
		}, []string{"cause"}),
		unmatched: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "isthmus_mgc_sip_responses_unmatched_total", Help: "Responses that belong to no transaction.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.live, m.repeats, m.failed, m.refused, m.unmatched)
	}
	return m
}
