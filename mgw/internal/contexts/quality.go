package contexts

import (
	"strconv"

	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// qualityParams are the parameters of EVENT_TYPE_QUALITY.
func qualityParams(to map[string]string, q flow.QualityReport) {
	to["state"], to["direction"] = "good", "received"
	if q.Low {
		to["state"] = "low"
	}
	if q.Sent {
		to["direction"] = "sent"
	}
	to["mos_centi"] = strconv.Itoa(int(100*q.MOS + 0.5))
	to["loss_permille"] = strconv.FormatUint(uint64(q.LossPermille), 10)
	to["jitter_us"] = strconv.FormatInt(q.Jitter.Microseconds(), 10)
	to["rtt_us"] = strconv.FormatInt(q.RTT.Microseconds(), 10)
}

// metricsMessage is a VoIP metrics block on Iq; nil when there is none.
func metricsMessage(v rtcp.VoIP) *iqv1.VoipMetrics {
	if v == (rtcp.VoIP{}) {
		return nil
	}
	return &iqv1.VoipMetrics{
		LossRate: uint32(v.LossRate), DiscardRate: uint32(v.DiscardRate), BurstDensity: uint32(v.BurstDensity), GapDensity: uint32(v.GapDensity),
		BurstDuration: uint32(v.BurstDuration), GapDuration: uint32(v.GapDuration),
		RoundTripDelay: uint32(v.RoundTrip), EndSystemDelay: uint32(v.EndSystemDelay),
		SignalLevel: int32(v.SignalLevel), NoiseLevel: int32(v.NoiseLevel), Rerl: uint32(v.RERL), Gmin: uint32(v.Gmin),
		RFactor: uint32(v.R), ExtRFactor: uint32(v.ExtR), MosLq: uint32(v.MOSLQ), MosCq: uint32(v.MOSCQ), RxConfig: uint32(v.RXConfig),
		JbNominal: uint32(v.JBNominal), JbMaximum: uint32(v.JBMaximum), JbAbsMax: uint32(v.JBMost),
	}
}
