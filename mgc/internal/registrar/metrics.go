package registrar

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	bindings    prometheus.Gauge
	results     *prometheus.CounterVec
	storeErrors prometheus.Counter
	regEvents   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		bindings:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "isthmus_mgc_bindings", Help: "Registered browsers of this instance."}),
		results:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_registrations_total", Help: "REGISTER requests by result: ok, removed, challenged, refused, failed, misrouted, limited, expired, ended_by_network, unauthorised, token_ended."}, []string{"result"}),
		regEvents:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgc_reg_events_total", Help: "Subscriptions to registration states and their notifications: subscribed, refused, notified, malformed."}, []string{"result"}),
		storeErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "isthmus_mgc_binding_store_errors_total", Help: "Writes of bindings that failed."}),
	}
	reg.MustRegister(m.bindings, m.results, m.storeErrors, m.regEvents)
	return m
}

// bucket is a token bucket of one source address (REG-32).
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) refill(now time.Time, cfg Config) {
	b.tokens = min(cfg.Burst, b.tokens+now.Sub(b.at).Seconds()*cfg.RatePerIP)
	b.at = now
}

func (b *bucket) full(now time.Time, cfg Config) bool {
	b.refill(now, cfg)
	return b.tokens >= cfg.Burst
}

// admit takes one token of the address; false when there is none.
func (r *Registrar) admit(ip string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	b := r.rates[ip]
	if b == nil {
		b = &bucket{tokens: r.cfg.Burst, at: now}
		r.rates[ip] = b
	}
	b.refill(now, r.cfg)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
