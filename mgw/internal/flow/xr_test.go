package flow

import (
	"strings"
	"testing"
	"time"

	pion "github.com/pion/rtcp"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// A core peer that has agreed to VoIP metrics gets them with each report, and its own are in the statistics; a browser that has not gets none.
func TestRFC3611_MetricsOnTheWireAndInStatistics(t *testing.T) {
	spec := relaySpec()
	spec.config = func(c *Config) { c.Timers.RTCP = 100 * time.Millisecond }
	spec.core.XRMetrics = true
	x := newCall(t, spec)
	x.exchange(60, 1)
	_ = x.s.rtcp.SetReadDeadline(time.Now().Add(wait.Limit))
	buf := make([]byte, 1500)
	var seen *pion.VoIPMetricsReportBlock
	for seen == nil {
		n, err := x.s.rtcp.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		ps, err := pion.Unmarshal(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ps {
			if xr, ok := p.(*pion.ExtendedReport); ok {
				// The first may come before there are enough packets for an estimate.
				if v, ok := xr.Reports[0].(*pion.VoIPMetricsReportBlock); ok && v.RFactor != rtcp.Unavailable {
					seen = v
				}
			}
		}
	}
	if seen.LossRate != 0 || seen.Gmin != 16 || seen.RFactor < 90 || seen.MOSCQ < 43 || seen.RXConfig != rtcp.RXUnspecified {
		t.Errorf("%+v", seen)
	}
	report, err := pion.Marshal([]pion.Packet{&pion.ReceiverReport{SSRC: 0xcc}, &pion.ExtendedReport{SenderSSRC: 0xcc, Reports: []pion.ReportBlock{
		&pion.VoIPMetricsReportBlock{SSRC: x.c.Local().SSRC, LossRate: 13, BurstDuration: 240, RFactor: 71, MOSCQ: 36}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.s.rtcp.WriteToUDPAddrPort(report, x.c.Local().RTCP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peer's metrics", func() bool {
		m := x.c.Stats().RemoteMetrics
		return m.LossRate == 13 && m.BurstDuration == 240 && m.R == 71 && m.MOSCQ == 36
	})
	if s := x.c.Stats(); s.Metrics.SSRC != seen.SSRC || s.Metrics.R < 90 {
		t.Errorf("%+v", s.Metrics)
	}
	x.a.w.do(func() {
		if x.a.s.t.leg.WantsPlayout() {
			t.Error("the browser gets metrics")
		}
	})
}

// Where the stream is decoded, metrics tell of its jitter buffer.
func TestRFC3611_MetricsOfAPlayout(t *testing.T) {
	if !transcode.Supported(opus) {
		t.Log("build without Opus")
		return
	}
	s := transcodeSpec()
	r := newRig(t, srtp.AES128GCM, s.access, s.core)
	buf := make([]byte, bufferSize)
	for i := range 100 {
		r.w.now = int64(i+1) * int64(20*time.Millisecond)
		if i%20 == 7 {
			r.seq++
		}
		r.c.core.media(r.w.now, sipAddr, r.fill(buf, 8))
		if a := r.c.to.active; a != nil {
			for a.dir.NextTick() <= r.w.now {
				a.tick(r.w.now)
			}
		}
	}
	m := r.c.stats().Metrics
	if m.RXConfig != rtcp.RXPlayout || m.JBNominal == 0 || m.JBMaximum < m.JBNominal || m.JBMost != 200 || m.EndSystemDelay == 0 {
		t.Errorf("%+v", m)
	}
	if m.LossRate < 10 || m.LossRate > 14 || m.R == 0 || m.R > 90 {
		t.Errorf("%+v", m)
	}
}

// What a jitter buffer discarded of one source is no discard of the next (RFC 3611 §4.7.1).
func TestRFC3611_DiscardsOfASourceThatIsGone(t *testing.T) {
	if !transcode.Supported(opus) {
		t.Log("build without Opus")
		return
	}
	s := transcodeSpec()
	r := newRig(t, srtp.AES128GCM, s.access, s.core)
	// talk is 100 packets of a source; behind: every fourth comes half a second late.
	talk := func(ssrc uint32, behind bool) rtcp.VoIP {
		var held [][]byte
		for i := range 100 {
			r.w.now += int64(20 * time.Millisecond)
			buf := make([]byte, bufferSize)
			rtp.Packet(r.fill(buf, 8)).SetSSRC(ssrc)
			in := [][]byte{buf[:rtp.HeaderLen+160]}
			if behind && i%4 == 3 {
				held, in = append(held, in[0]), nil
			}
			if behind && i%4 == 1 && len(held) > 6 {
				in, held = append(in, held[0]), held[1:]
			}
			for _, b := range in {
				r.c.core.media(r.w.now, sipAddr, b)
			}
			if a := r.c.to.active; a != nil {
				for a.dir.NextTick() <= r.w.now {
					a.tick(r.w.now)
				}
			}
		}
		return r.c.stats().Metrics
	}
	if m := talk(1, true); m.DiscardRate < 20 {
		t.Fatalf("%+v, %+v", m, r.c.stats())
	}
	if m := talk(2, false); m.SSRC != 2 || m.DiscardRate > 2 {
		t.Errorf("%+v", m)
	}
}

// The event tells once that the estimate has fallen below the limit and once that it is back, for each direction.
func TestQualityBelowItsLimitIsTold(t *testing.T) {
	access, core := relaySettings()
	core.Armed, core.QualityLimit, core.QualityEvery = Quality.Bit(), 3.8, 2*time.Second
	r := newRig(t, srtp.AES128GCM, access, core)
	var told []string
	r.w.cfg.Events = func(e Event) {
		q := e.Quality
		what := map[bool]string{true: "low", false: "good"}[q.Low] + map[bool]string{true: " sent", false: " received"}[q.Sent]
		if e.Kind != Quality || q.Low != (q.MOS < 3.8) || q.Low != (q.LossPermille > 50) {
			t.Errorf("%+v", e)
		}
		told = append(told, what)
	}
	buf := make([]byte, bufferSize)
	now := int64(0)
	// talk is an interval in which every lose-th packet is lost, 0: none, after which the peer reports a loss of 256ths.
	talk := func(lose int, reported uint8) {
		for i := range 100 {
			now += int64(20 * time.Millisecond)
			if lose != 0 && i%lose == 0 {
				r.seq++
				continue
			}
			r.c.core.media(now, sipAddr, r.fill(buf, 8))
		}
		rr, err := pion.Marshal([]pion.Packet{&pion.ReceiverReport{SSRC: 77, Reports: []pion.ReceptionReport{{SSRC: r.c.out.stamp.SSRC(), FractionLost: reported}}}})
		if err != nil {
			t.Fatal(err)
		}
		r.c.core.control(now, sipAddr, rr)
		r.c.sweep(now + 1)
	}
	for _, step := range []struct {
		lose     int
		reported uint8
		want     string
	}{{0, 0, ""}, {5, 0, "low received"}, {5, 0, ""}, {0, 100, "good received,low sent"}, {0, 100, ""}, {0, 0, "good sent"}} {
		told = nil
		talk(step.lose, step.reported)
		if got := strings.Join(told, ","); got != step.want {
			t.Errorf("%+v: told %q", step, got)
		}
	}
	core.QualityLimit = 0
	if err := r.c.configure(now, core); err != nil {
		t.Fatal(err)
	}
	told = nil
	talk(2, 200)
	if told != nil {
		t.Errorf("without a limit: %v", told)
	}
}

// COD-12: whether what we code pauses in silence is the controller's choice.
func TestCOD12_PausesByPolicyOnly(t *testing.T) {
	wide := amrWB(97, "")
	if !transcode.Supported(wide) {
		t.Log("build without AMR")
		return
	}
	for _, dtx := range []bool{false, true} {
		core := both(SendRecv, []codec.Codec{wide}, wide, codec.Codec{})
		core.DTX = dtx
		r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}), core)
		buf := make([]byte, bufferSize)
		for i := range 150 {
			r.w.now = int64(i+1) * int64(20*time.Millisecond)
			in := r.fill(buf, 8)
			for k := range in[rtp.HeaderLen:] {
				in[rtp.HeaderLen+k] = 0xd5 ^ byte(k*k*7+i*k)&0x80 // next to silence in A-law
			}
			r.a.media(r.w.now, in)
			if a := r.a.to.active; a != nil {
				for a.dir.NextTick() <= r.w.now {
					a.tick(r.w.now)
				}
			}
		}
		if n := r.c.out.packets; dtx && n > 60 || !dtx && n < 140 {
			t.Errorf("DTX %v: %d packets in 3 s", dtx, n)
		}
	}
}
