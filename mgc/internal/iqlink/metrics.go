package iqlink

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec // op, result
	latency  *prometheus.HistogramVec
	repeats  prometheus.Counter
	notifies *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_iq_requests_total",
			Help: "Iq requests by operation (in_*: from MGWs) and result: ok, refused (H.248.8 error in the reply), failed (no reply)."}, []string{"op", "result"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "isthmus_mgc_iq_request_duration_seconds",
			Help: "Duration of Iq requests with their repetitions.", Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 3}}, []string{"op"}),
		repeats: prometheus.NewCounter(prometheus.CounterOpts{Name: "isthmus_mgc_iq_repeats_total",
			Help: "Attempts repeated with the same transaction id because an MGW did not answer."}),
		notifies: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_iq_notifies_total",
			Help: "Notify requests by verdict; duplicate: acknowledged before, busy and waited: refused for load."}, []string{"verdict"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.latency, m.repeats, m.notifies)
	}
	return m
}

func (m *metrics) observe(op string, start time.Time, err error, refused bool) {
	result := "ok"
	switch {
	case err != nil:
		result = "failed"
	case refused:
		result = "refused"
	}
	m.requests.WithLabelValues(op, result).Inc()
	m.latency.WithLabelValues(op).Observe(time.Since(start).Seconds())
}
