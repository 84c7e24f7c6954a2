package contexts

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
)

// ended are sums over streams that had media, each taken when it ends. side: access or core, where the stream's peer is.
type ended struct {
	streams                          *prometheus.CounterVec // by side and path
	oneWay                           *prometheus.CounterVec // by side, as all below
	lost, late, concealed, recovered *prometheus.CounterVec
	mos                              *prometheus.HistogramVec
}

func newEnded() ended {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "isthmus_mgw_" + name, Help: help}, append([]string{"side"}, labels...))
	}
	return ended{
		streams:   counter("streams_ended_total", "Streams with media that have ended, by what was done with the peer's: relay, repack, transcode, none.", "path"),
		oneWay:    counter("streams_one_way_total", "Of these, those whose peer was sent media and sent none itself, early media without an answer included."),
		lost:      counter("stream_packets_lost_total", "RTP packets of peers that did not arrive, counted when their stream ends."),
		late:      counter("stream_packets_late_total", "RTP packets of peers that came too late to be decoded, counted likewise."),
		concealed: counter("stream_frames_concealed_total", "Frames of peers that were concealed, counted likewise."),
		recovered: counter("stream_frames_recovered_total", "Frames of peers that were decoded from in-band FEC, counted likewise."),
		mos: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "isthmus_mgw_stream_mos", Help: "Estimated MOS (ITU-T G.107) of what peers have sent, as it arrived here, of each stream that has ended.",
			Buckets: []float64{1.5, 2, 2.5, 3, 3.5, 3.75, 4, 4.25, 4.5},
		}, []string{"side"}),
	}
}

func (e *ended) register(reg prometheus.Registerer) {
	reg.MustRegister(e.streams, e.oneWay, e.lost, e.late, e.concealed, e.recovered, e.mos)
}

var pathNames = map[flow.PathKind]string{flow.PathNone: "none", flow.PathRelay: "relay", flow.PathRepack: "repack", flow.PathTranscode: "transcode"}

// take counts a stream that has ended.
func (e *ended) take(side string, s *flow.Stats) {
	if s.PacketsReceived == 0 && s.PacketsSent == 0 {
		return
	}
	e.streams.WithLabelValues(side, pathNames[s.Path.Kind]).Inc()
	if s.PacketsReceived == 0 {
		e.oneWay.WithLabelValues(side).Inc()
	}
	e.lost.WithLabelValues(side).Add(float64(s.PacketsLost))
	e.late.WithLabelValues(side).Add(float64(s.PacketsLate))
	e.concealed.WithLabelValues(side).Add(float64(s.FramesConcealed))
	e.recovered.WithLabelValues(side).Add(float64(s.FramesRecovered))
	if s.MOS != 0 {
		e.mos.WithLabelValues(side).Observe(s.MOS)
	}
}
