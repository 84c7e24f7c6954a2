package app

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
)

// registerGauges adds what is read at the moment of a scrape.
func registerGauges(reg prometheus.Registerer, a *App, version string) {
	gauge := func(name, help string, f func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	counter := func(name, help string, f func(flow.Counters) uint64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 {
			return float64(f(a.engine.Counters()))
		}))
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge("isthmus_mgw_contexts", "Contexts alive.", func() float64 { return float64(a.contexts.Count()) })
	gauge("isthmus_mgw_terminations", "Terminations alive.", func() float64 { return float64(a.contexts.Terminations()) })
	gauge("isthmus_mgw_port_pairs", "Core port pairs taken.", func() float64 { return float64(a.engine.Counters().PortPairs) })
	gauge("isthmus_mgw_buffers", "Packet buffers out of the pools.", func() float64 { return float64(a.engine.Counters().Buffers) })
	gauge("isthmus_mgw_registered", "1 while registered with the pool and answered by it.", func() float64 { return truth(a.assoc.Linked()) })
	gauge("isthmus_mgw_draining", "1 while no new contexts are taken.", func() float64 { return truth(a.drain.Draining()) })
	counter("isthmus_mgw_packets_received_total", "Packets received on both sides, RTP and RTCP.", func(c flow.Counters) uint64 { return c.PacketsReceived })
	counter("isthmus_mgw_packets_sent_total", "Packets sent on both sides, RTP and RTCP.", func(c flow.Counters) uint64 { return c.PacketsSent })
	counter("isthmus_mgw_datagrams_dropped_total", "Datagrams that belonged to no termination.", func(c flow.Counters) uint64 { return c.Dropped })
	counter("isthmus_mgw_worker_wakeups_total", "Poll returns of the packet threads.", func(c flow.Counters) uint64 { return c.WakeUps })
	counter("isthmus_mgw_read_batches_total", "Socket reads of the packet threads, each of a batch of packets.", func(c flow.Counters) uint64 { return c.Batches })
	counter("isthmus_mgw_ice_checks_taken_total", "Connectivity checks that named an agent of ours.", func(c flow.Counters) uint64 { return c.ChecksTaken })
	counter("isthmus_mgw_ice_checks_answered_total", "Connectivity checks that were authenticated and answered; the rest of those taken is forged or still waiting.",
		func(c flow.Counters) uint64 { return c.ChecksAnswered })
	counter("isthmus_mgw_ice_tcp_refused_total", "TCP connections closed before a termination was found for them: too many, silent, no check, unknown.",
		func(c flow.Counters) uint64 { return c.StreamsRefused })
	gauge("isthmus_mgw_ice_tcp_unknown", "TCP connections that no connectivity check has authenticated yet.",
		func() float64 { return float64(a.engine.Counters().StreamsUnknown) })
	for r := gate.Pass + 1; r < gate.Reasons; r++ {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "isthmus_mgw_packets_refused_total", Help: "Packets that a termination refused, by reason.", ConstLabels: prometheus.Labels{"reason": r.String()},
		}, func() float64 { return float64(a.engine.Counters().Refused[r]) }))
	}
	for i := range a.engine.Shares() {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "isthmus_mgw_worker_share", Help: "Share of a core that a packet thread takes, 0 to 1.", ConstLabels: prometheus.Labels{"worker": strconv.Itoa(i)},
		}, func() float64 { return a.engine.Shares()[i] }))
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "isthmus_mgw_build_info", Help: "Always 1; labels tell the build.", ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 }))
}
