package auth

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	verdicts *prometheus.CounterVec // by reason
	fetches  *prometheus.CounterVec // by endpoint, result
	absent   *prometheus.CounterVec // by policy
	keys     *prometheus.GaugeVec   // by issuer
	cache    *prometheus.GaugeVec   // by cache
	open     prometheus.Gauge
	expired  prometheus.Counter
}

// newMetrics registers the collectors with reg; nil makes them unregistered, for tests.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgc_auth_verdicts_total", Help: "Requests with a web-identity token, or that needed one, by verdict.",
		}, []string{"reason"}),
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgc_auth_fetches_total", Help: "HTTP exchanges with issuers by endpoint (jwks, discovery, introspection) and result.",
		}, []string{"endpoint", "result"}),
		absent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgc_auth_tokens_absent_total", Help: "Requests other than REGISTER without a token where policy asks for one.",
		}, []string{"policy"}),
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "isthmus_mgc_auth_keys", Help: "Usable keys of an issuer.",
		}, []string{"issuer"}),
		cache: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "isthmus_mgc_auth_cache_entries", Help: "Remembered verdicts by cache: flows, introspection.",
		}, []string{"cache"}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "isthmus_mgc_auth_introspection_circuit_open", Help: "1 while the introspection endpoint is left alone after failures.",
		}),
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "isthmus_mgc_auth_tokens_expired_total", Help: "Connections whose token ended without being renewed.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.verdicts, m.fetches, m.absent, m.keys, m.cache, m.open, m.expired)
	}
	return m
}
