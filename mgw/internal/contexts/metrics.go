package contexts

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the counters of a Manager.
type Metrics struct {
	notifies      *prometheus.CounterVec
	eventsDropped prometheus.Counter
	hanging       prometheus.Counter
	broken        prometheus.Counter
	realmRefusals prometheus.Counter
	ended         ended
}

// NewMetrics makes the counters and registers them; nil: not registered.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		ended: newEnded(),
		notifies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgw_notify_deliveries_total", Help: "Deliveries of Notify requests by result: ack, unknown_context, retry.",
		}, []string{"result"}),
		eventsDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "isthmus_mgw_events_dropped_total", Help: "Events dropped because the queue of their context was full.",
		}),
		hanging: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "isthmus_mgw_contexts_hanging_total", Help: "Contexts subtracted by the gateway because the pool did not know them or was away too long.",
		}),
		broken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "isthmus_mgw_rollback_failures_total", Help: "Commands whose rollback failed, so that media may differ from the context's state.",
		}),
		realmRefusals: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "isthmus_mgw_realm_refusals_total", Help: "Terminations refused because their realm was not available.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.notifies, m.eventsDropped, m.hanging, m.broken, m.realmRefusals)
		m.ended.register(reg)
	}
	return m
}
