package call

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts calls. Make it once per process.
type Metrics struct {
	active      prometheus.Gauge
	started     *prometheus.CounterVec // direction
	ended       *prometheus.CounterVec // cause
	refused     *prometheus.CounterVec // reason
	emergencies *prometheus.CounterVec // mode
	dropped     prometheus.Counter
	digits      *prometheus.CounterVec // leg
	adopted     prometheus.Counter
	yielded     prometheus.Counter
	forwarded   *prometheus.CounterVec // kind
	setup       prometheus.Histogram
	storeErr    prometheus.Counter
}

// NewMetrics registers the call metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		active:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "isthmus_mgc_calls_active", Help: "Calls owned by this instance."}),
		started:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_calls_started_total", Help: "Calls begun."}, []string{"direction"}),
		ended:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_calls_ended_total", Help: "Calls ended, by cause."}, []string{"cause"}),
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_requests_refused_total", Help: "Requests refused before they reached a call, by reason."}, []string{"reason"}),
		emergencies: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_emergency_calls_total", Help: "Emergency calls recognised, by what became of them."}, []string{"mode"}),
		dropped:     prometheus.NewCounter(prometheus.CounterOpts{Name: "isthmus_mgc_call_events_dropped_total", Help: "Events lost because a call's inbox was full."}),
		digits:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_digits_lost_total", Help: "Digits that were refused or lost because too many waited for the answers of the peer of the leg to INFO."}, []string{"leg"}),
		adopted:     prometheus.NewCounter(prometheus.CounterOpts{Name: "isthmus_mgc_calls_adopted_total", Help: "Calls taken over from an instance that is gone."}),
		yielded:     prometheus.NewCounter(prometheus.CounterOpts{Name: "isthmus_mgc_calls_yielded_total", Help: "Calls handed over to the instance that their browser went to, or as this one stops."}),
		forwarded:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_forwarded_total", Help: "Messages brought to the instance that owns their call or browser, by kind: request, notify."}, []string{"kind"}),
		setup:       prometheus.NewHistogram(prometheus.HistogramOpts{Name: "isthmus_mgc_call_setup_seconds", Help: "From INVITE to its final 2xx.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}),
		storeErr:    prometheus.NewCounter(prometheus.CounterOpts{Name: "isthmus_mgc_call_store_errors_total", Help: "Writes of call records that failed."}),
	}
	r.MustRegister(m.active, m.started, m.ended, m.refused, m.emergencies, m.dropped, m.digits, m.adopted, m.yielded, m.forwarded, m.setup, m.storeErr)
	return m
}
