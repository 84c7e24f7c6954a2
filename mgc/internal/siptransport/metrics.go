package siptransport

import "github.com/prometheus/client_golang/prometheus"

// Reasons of the refused counter.
const (
	reasonMalformed    = "malformed"    // answered by 400 or 505
	reasonUnanswerable = "unanswerable" // not even enough for a 400, a response, or an ACK
	reasonStranger     = "stranger"     // source is not admitted
	reasonOversize     = "oversize"
	reasonQueueFull    = "queue_full"
	reasonLimit        = "limit"     // too many connections
	reasonHandshake    = "handshake" // TLS was not agreed upon, or the certificate is not accepted
)

// Metrics counts what the transports see. One value serves all edges of an instance.
type Metrics struct {
	messages *prometheus.CounterVec // transport, direction, kind
	refused  *prometheus.CounterVec // transport, reason
	conns    *prometheus.GaugeVec   // transport
}

// NewMetrics registers the collectors with reg; nil makes them unregistered, for tests.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgc_sip_messages_total", Help: "SIP messages by transport, direction and kind.",
		}, []string{"transport", "direction", "kind"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_mgc_sip_refused_total", Help: "Messages and connections refused before any transaction, by reason.",
		}, []string{"transport", "reason"}),
		conns: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "isthmus_mgc_sip_connections", Help: "Open SIP connections by transport.",
		}, []string{"transport"}),
	}
	if reg != nil {
		reg.MustRegister(m.messages, m.refused, m.conns)
	}
	return m
}

// Refused counts one refusal. reason must come from a fixed set.
func (m *Metrics) Refused(transport, reason string) {
	m.refused.WithLabelValues(transport, reason).Inc()
}

// Sent counts one message written.
func (m *Metrics) Sent(transport string) {
	m.messages.WithLabelValues(transport, "out", "any").Inc()
}

// Opened counts an open connection; Closed takes it off.
func (m *Metrics) Opened(transport string) { m.conns.WithLabelValues(transport).Inc() }

// Closed takes a connection off the gauge.
func (m *Metrics) Closed(transport string) { m.conns.WithLabelValues(transport).Dec() }

func (m *Metrics) received(transport string, request bool) {
	kind := "response"
	if request {
		kind = "request"
	}
	m.messages.WithLabelValues(transport, "in", kind).Inc()
}
