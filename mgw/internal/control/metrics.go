package control

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Metrics are the counters of the control side.
type Metrics struct {
	transactions  *prometheus.HistogramVec
	errors        *prometheus.CounterVec
	registrations *prometheus.CounterVec
	heartbeats    *prometheus.CounterVec
	storedReplies func() int // set by NewServer
}

// NewMetrics makes the counters and registers them; nil: not registered.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		transactions: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "isthmus_mgw_transaction_duration_seconds", Help: "Time to answer a Transact by outcome: ok, failed, replayed, refused, overload, error.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1},
		}, []string{"outcome"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgw_action_errors_total", Help: "Actions that failed by code of H.248.8.",
		}, []string{"code"}),
		registrations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgw_registrations_total", Help: "Attempts to register with the pool by result: accepted, refused, unreachable.",
		}, []string{"result"}),
		heartbeats: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgw_heartbeats_total", Help: "Heartbeats by result: ok, lost, re_register.",
		}, []string{"result"}),
		storedReplies: func() int { return 0 },
	}
	if reg != nil {
		reg.MustRegister(m.transactions, m.errors, m.registrations, m.heartbeats, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "isthmus_mgw_stored_replies", Help: "Replies kept for repeated transactions.",
		}, func() float64 { return float64(m.storedReplies()) }))
	}
	return m
}

func (m *Metrics) transaction(outcome string, start time.Time) {
	m.transactions.WithLabelValues(outcome).Observe(time.Since(start).Seconds())
}

// outcome names how a transaction ended.
func outcome(reply *iqv1.TransactionReply, err error) string {
	switch {
	case err != nil:
		return "error"
	case reply.GetReplayed():
		return "replayed"
	}
	for _, a := range reply.GetActions() {
		if a.GetError() != nil {
			return "failed"
		}
	}
	return "ok"
}

func codeLabel(code uint32) string { return strconv.FormatUint(uint64(code), 10) }
