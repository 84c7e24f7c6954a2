package turnserver

import "github.com/prometheus/client_golang/prometheus"

// Reasons for which something is refused or dropped.
const (
	refusedUsername    = "username"      // not expiry:user
	refusedExpired     = "expired"       // credential too old for an allocation
	refusedForged      = "forged"        // integrity fits no secret
	refusedUserQuota   = "user_quota"    // 486
	refusedSourceQuota = "source_quota"  // 486
	refusedTotalQuota  = "total_quota"   // 508
	refusedPorts       = "no_port"       // 508
	refusedFamily      = "family"        // 440
	refusedTransport   = "tcp_relay"     // 442, RFC 6062
	refusedPeer        = "peer"          // 403
	refusedRate        = "request_rate"  // requests of a source
	refusedConnections = "connections"   // of a source or in all
	refusedFraming     = "framing"       // of a stream
	refusedHandshake   = "tls_handshake" // no TLS in time
	refusedSlow        = "slow_client"   // did not read, did not finish a message, or has no allocation
	refusedStray       = "stray"         // neither request nor of an allocation
	droppedPeer        = "packet_peer"   // to or from an address that is not allowed
	droppedBandwidth   = "packet_bandwidth"
)

var reasons = []string{refusedUsername, refusedExpired, refusedForged, refusedUserQuota, refusedSourceQuota, refusedTotalQuota, refusedPorts, refusedFamily,
	refusedTransport, refusedPeer, refusedRate, refusedConnections, refusedFraming, refusedHandshake, refusedSlow, refusedStray, droppedPeer, droppedBandwidth}

type metrics struct {
	allocations *prometheus.CounterVec
	refused     map[string]prometheus.Counter
	octets      map[string]prometheus.Counter // to_peer, to_client
}

func newMetrics(reg prometheus.Registerer, s *Server) *metrics {
	m := &metrics{refused: map[string]prometheus.Counter{}, octets: map[string]prometheus.Counter{}}
	m.allocations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "isthmus_mgw_turn_allocations_total", Help: "TURN allocations made, by the client's transport: udp, tcp, tls.",
	}, []string{"transport"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "isthmus_mgw_turn_refused_total", Help: "TURN requests, connections and packets refused, by reason.",
	}, []string{"reason"})
	octets := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "isthmus_mgw_turn_octets_total", Help: "Payload relayed, by direction: to_peer, to_client.",
	}, []string{"direction"})
	for _, r := range reasons {
		m.refused[r] = refused.WithLabelValues(r)
	}
	for _, d := range []string{"to_peer", "to_client"} {
		m.octets[d] = octets.WithLabelValues(d)
	}
	for _, t := range []string{"udp", "tcp", "tls"} {
		m.allocations.WithLabelValues(t)
	}
	if reg != nil {
		reg.MustRegister(m.allocations, refused, octets,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "isthmus_mgw_turn_allocations", Help: "TURN allocations alive."}, func() float64 { return float64(s.Allocations()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "isthmus_mgw_turn_connections", Help: "TCP and TLS connections of TURN clients."}, func() float64 { return float64(s.Connections()) }))
	}
	return m
}

func (m *metrics) refuse(reason string) { m.refused[reason].Inc() }
