package contexts

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// What streams were like is counted when they end, by side and path; one that had no media, as of a call that nobody answered, is none.
func TestEndedStreamsAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	for _, s := range []struct {
		side string
		flow.Stats
	}{
		{"access", flow.Stats{PacketsReceived: 100, PacketsSent: 90, PacketsLost: 7, PacketsLate: 2, FramesConcealed: 5, FramesRecovered: 4, MOS: 3.9, Path: flow.Path{Kind: flow.PathTranscode}}},
		{"access", flow.Stats{PacketsReceived: 100, PacketsLost: 1, Path: flow.Path{Kind: flow.PathRelay}}},
		{"core", flow.Stats{PacketsSent: 90}},
		{"core", flow.Stats{}},
	} {
		m.ended.take(s.side, &s.Stats)
	}
	const want = `
# HELP isthmus_mgw_stream_frames_concealed_total Frames of peers that were concealed, counted likewise.
# TYPE isthmus_mgw_stream_frames_concealed_total counter
isthmus_mgw_stream_frames_concealed_total{side="access"} 5
isthmus_mgw_stream_frames_concealed_total{side="core"} 0
# HELP isthmus_mgw_stream_frames_recovered_total Frames of peers that were decoded from in-band FEC, counted likewise.
# TYPE isthmus_mgw_stream_frames_recovered_total counter
isthmus_mgw_stream_frames_recovered_total{side="access"} 4
isthmus_mgw_stream_frames_recovered_total{side="core"} 0
# HELP isthmus_mgw_stream_packets_late_total RTP packets of peers that came too late to be decoded, counted likewise.
# TYPE isthmus_mgw_stream_packets_late_total counter
isthmus_mgw_stream_packets_late_total{side="access"} 2
isthmus_mgw_stream_packets_late_total{side="core"} 0
# HELP isthmus_mgw_stream_packets_lost_total RTP packets of peers that did not arrive, counted when their stream ends.
# TYPE isthmus_mgw_stream_packets_lost_total counter
isthmus_mgw_stream_packets_lost_total{side="access"} 8
isthmus_mgw_stream_packets_lost_total{side="core"} 0
# HELP isthmus_mgw_streams_ended_total Streams with media that have ended, by what was done with the peer's: relay, repack, transcode, none.
# TYPE isthmus_mgw_streams_ended_total counter
isthmus_mgw_streams_ended_total{path="none",side="core"} 1
isthmus_mgw_streams_ended_total{path="relay",side="access"} 1
isthmus_mgw_streams_ended_total{path="transcode",side="access"} 1
# HELP isthmus_mgw_streams_one_way_total Of these, those whose peer was sent media and sent none itself, early media without an answer included.
# TYPE isthmus_mgw_streams_one_way_total counter
isthmus_mgw_streams_one_way_total{side="core"} 1
`
	names := []string{"streams_ended_total", "streams_one_way_total", "stream_packets_lost_total", "stream_packets_late_total", "stream_frames_concealed_total", "stream_frames_recovered_total"}
	for i := range names {
		names[i] = "isthmus_mgw_" + names[i]
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(m.ended.mos); n != 1 {
		t.Errorf("%d histograms of MOS, want that of the side where it is known", n)
	}
}

// Subtract is what ends them.
func TestSubtractedStreamsAreCounted(t *testing.T) {
	cfg := testConfig(newPool())
	cfg.Metrics = NewMetrics(prometheus.NewRegistry())
	m := New(cfg, newFakeMedia(4))
	defer m.Close()
	id, _, _ := call(t, m)
	m.Apply(&iqv1.Action{Context: contextID(id), Commands: []*iqv1.Command{subtractAll()}})
	for _, side := range []string{"access", "core"} {
		if n := testutil.ToFloat64(cfg.Metrics.ended.streams.WithLabelValues(side, "none")); n != 1 {
			t.Errorf("%s: %v streams, want 1", side, n)
		}
	}
}
