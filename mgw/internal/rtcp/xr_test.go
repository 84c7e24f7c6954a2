package rtcp

import (
	"bytes"
	"errors"
	"testing"
	"time"

	pion "github.com/pion/rtcp"
)

var block = VoIP{
	SSRC: 0xaabbccdd, LossRate: 1, DiscardRate: 2, BurstDensity: 3, GapDensity: 4, BurstDuration: 0x0506, GapDuration: 0x0708,
	RoundTrip: 0x090a, EndSystemDelay: 0x0b0c, SignalLevel: -13, NoiseLevel: -70, RERL: 0x0f, Gmin: 0x10, R: 0x11, ExtR: 0x12, MOSLQ: 0x13, MOSCQ: 0x14,
	RXConfig: 0x15, JBNominal: 0x1617, JBMaximum: 0x1819, JBMost: 0x1a1b,
}

// The bytes are those of the diagram in RFC 3611 §4.7.
func TestRFC3611_4_7_BlockOfTheDiagram(t *testing.T) {
	want := []byte{
		7, 0, 0, 8, 0xaa, 0xbb, 0xcc, 0xdd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0xf3, 0xba, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14,
		0x15, 0, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b,
	}
	got := make([]byte, voipLen)
	block.put(got)
	if !bytes.Equal(got, want) {
		t.Errorf("% x\nwant % x", got, want)
	}
	if back := readVoIP(got); back != block {
		t.Errorf("%+v", back)
	}
}

// What we write is read by a foreign stack as it was meant, after a report and the name.
func TestRFC3611_ReportsReadByForeignParser(t *testing.T) {
	l := newLeg(t, 0x11223344)
	out := make([]byte, MaxReport)
	parse := func(now int64) []pion.Packet {
		t.Helper()
		if l.WantsPlayout() {
			l.SetPlayout(Playout{Discarded: 10, Delay: 35 * time.Millisecond, Nominal: 30 * time.Millisecond, Maximum: 90 * time.Millisecond,
				Most: 200 * time.Millisecond, R: 88.2, MOSLQ: 4.23, MOSCQ: 4.18, Config: RXPlayout})
		}
		ps, err := pion.Unmarshal(out[:l.Build(now, 16000, out)])
		if err != nil {
			t.Fatal(err)
		}
		if err := pion.CompoundPacket(ps).Validate(); err != nil {
			t.Fatal(err)
		}
		return ps
	}
	for i := range 100 {
		if i%10 != 3 {
			l.Received(int64(i)*20e6, Arrival{SSRC: 0xaabbccdd, Seq: uint16(i), TS: uint32(i * 160), Payload: 160})
		}
	}
	if ps := parse(second); len(ps) != 2 {
		t.Errorf("without agreement: %v", ps)
	}
	l.SetXR(true, true)
	ps := parse(2 * second)
	xr, ok := ps[len(ps)-1].(*pion.ExtendedReport)
	if !ok || xr.SenderSSRC != 0x11223344 || len(xr.Reports) != 2 {
		t.Fatalf("%v", ps)
	}
	if r, ok := xr.Reports[0].(*pion.ReceiverReferenceTimeReportBlock); !ok || r.NTPTimestamp != uint64(1_700_000_002+2208988800)<<32 {
		t.Errorf("%+v", xr.Reports[0])
	}
	v, ok := xr.Reports[1].(*pion.VoIPMetricsReportBlock)
	if !ok || v.SSRC != 0xaabbccdd || v.LossRate != 25 || v.DiscardRate != 25 || v.Gmin != 16 || v.RFactor != 88 || v.ExtRFactor != 127 ||
		v.MOSLQ != 42 || v.MOSCQ != 42 || v.SignalLevel != 127 || v.NoiseLevel != 127 || v.RERL != 127 || v.RXConfig != 0xb0 ||
		v.EndSystemDelay != 35 || v.JBNominal != 30 || v.JBMaximum != 90 || v.JBAbsMax != 200 {
		t.Errorf("%+v", v)
	}
	// A sender has sender reports for the round trip, and answers the peer's reference time once.
	l.Sent(160)
	if _, err := l.Handle(3*second, foreign(t, &pion.ReceiverReport{SSRC: 5}, &pion.ExtendedReport{SenderSSRC: 5, Reports: []pion.ReportBlock{
		&pion.ReceiverReferenceTimeReportBlock{NTPTimestamp: 0x1122334455667788}}})); err != nil {
		t.Fatal(err)
	}
	ps = parse(3*second + second/2)
	xr = ps[len(ps)-1].(*pion.ExtendedReport)
	if d, ok := xr.Reports[0].(*pion.DLRRReportBlock); !ok || len(xr.Reports) != 2 || d.Reports[0] != (pion.DLRRReport{SSRC: 5, LastRR: 0x33445566, DLRR: 1 << 15}) {
		t.Errorf("%+v", xr.Reports[0])
	}
	ps = parse(4 * second)
	if xr = ps[len(ps)-1].(*pion.ExtendedReport); len(xr.Reports) != 1 {
		t.Errorf("%+v", xr.Reports)
	}
}

// The discard rate is of the source that is reported on (RFC 3611 §4.7.1), not of one before it or of its own numbers before they began anew.
func TestRFC3611_DiscardRateOfTheSource(t *testing.T) {
	l := newLeg(t, 0x11223344)
	now, discarded := int64(0), uint64(0)
	// talk is 256 packets of a source, of which late come too late to be played.
	talk := func(ssrc uint32, seq uint16, late uint64) VoIP {
		for i := range uint16(256) {
			now += 20e6
			if l.Received(now, Arrival{SSRC: ssrc, Seq: seq + i, TS: uint32(seq+i) * 160, Payload: 160}) {
				l.SetDiscarded(discarded)
			}
		}
		discarded += late
		l.SetPlayout(Playout{Discarded: discarded})
		return l.Metrics()
	}
	for i, step := range []struct {
		ssrc uint32
		seq  uint16
		late uint64
		want uint8
	}{{1, 0, 200, 200}, {2, 0, 2, 2}, {2, 20000, 3, 3}, {1, 0, 0, 0}} {
		if v := talk(step.ssrc, step.seq, step.late); v.SSRC != step.ssrc || v.DiscardRate != step.want {
			t.Errorf("step %d: source %d discards %d/256, want %d", i, v.SSRC, v.DiscardRate, step.want)
		}
	}
}

func foreign(t testing.TB, ps ...pion.Packet) []byte {
	t.Helper()
	b, err := pion.Marshal(ps)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a foreign stack writes about our stream is taken, and nothing about others.
func TestRFC3611_PeersMetrics(t *testing.T) {
	l := newLeg(t, 42)
	l.SetXR(true, true)
	mine := pion.VoIPMetricsReportBlock{SSRC: 42, LossRate: 12, DiscardRate: 3, BurstDensity: 200, GapDensity: 1, BurstDuration: 180, GapDuration: 340,
		RoundTripDelay: 55, EndSystemDelay: 60, SignalLevel: 200, NoiseLevel: 190, RERL: 127, Gmin: 16, RFactor: 80, ExtRFactor: 127, MOSLQ: 40, MOSCQ: 39,
		RXConfig: 0xb0, JBNominal: 40, JBMaximum: 80, JBAbsMax: 300}
	other := mine
	other.SSRC, other.LossRate = 43, 99
	report := foreign(t, &pion.ReceiverReport{SSRC: 5}, &pion.ExtendedReport{SenderSSRC: 5, Reports: []pion.ReportBlock{
		&pion.StatisticsSummaryReportBlock{SSRC: 42}, &mine, &other,
		&pion.DLRRReportBlock{Reports: []pion.DLRRReport{{SSRC: 43, LastRR: 9, DLRR: 9}, {SSRC: 42, LastRR: uint32(l.ntp(second) >> 16), DLRR: 1 << 16}}},
	}})
	if _, err := l.Handle(2*second+50e6, report); err != nil {
		t.Fatal(err)
	}
	s := l.Statistics()
	if !s.Measured || s.VoIP.LossRate != 12 || s.VoIP.BurstDuration != 180 || s.VoIP.GapDuration != 340 || s.VoIP.MOSCQ != 39 || s.VoIP.SignalLevel != -56 || s.VoIP.JBMost != 300 {
		t.Errorf("%+v", s)
	}
	if s.RTT < 49*time.Millisecond || s.RTT > 51*time.Millisecond {
		t.Errorf("round trip %v", s.RTT)
	}
	if _, err := l.Handle(3*second, foreign(t, &pion.ReceiverReport{SSRC: 5})); err != nil || !l.Statistics().Measured {
		t.Error("a report without metrics has taken them away")
	}
}

func TestRFC3611_Damaged(t *testing.T) {
	rr := []byte{0x80, typeRR, 0, 1, 0, 0, 0, 5}
	for name, xr := range map[string][]byte{
		"no sender":           {0x80, typeXR, 0, 0},
		"half a head":         {0x80, typeXR, 0, 1, 0, 0, 0, 5, 7},
		"block beyond":        {0x80, typeXR, 0, 2, 0, 0, 0, 5, 7, 0, 0, 8},
		"metrics too short":   {0x80, typeXR, 0, 3, 0, 0, 0, 5, 7, 0, 0, 1, 0, 0, 0, 42},
		"reference too short": {0x80, typeXR, 0, 3, 0, 0, 0, 5, 4, 0, 0, 1, 0, 0, 0, 42},
		"delay in pieces":     {0x80, typeXR, 0, 3, 0, 0, 0, 5, 5, 0, 0, 1, 0, 0, 0, 42},
	} {
		var i Info
		if err := Parse(append(bytes.Clone(rr), xr...), 42, false, &i); !errors.Is(err, ErrLength) {
			t.Errorf("%s: %v", name, err)
		}
	}
	unknown := []byte{0x80, typeXR, 0, 3, 0, 0, 0, 5, 99, 0, 0, 1, 0, 0, 0, 42}
	var i Info
	if err := Parse(append(bytes.Clone(rr), unknown...), 42, false, &i); err != nil || i.Measured {
		t.Errorf("a block of another type: %v", err)
	}
}

// Bursts and gaps: figures worked out by hand from the definitions (RFC 3611 §4.7.2).
func TestRFC3611_4_7_2_BurstsAndGaps(t *testing.T) {
	const rx, lost = true, false
	type piece struct {
		n    int
		what bool
	}
	for name, c := range map[string]struct {
		pieces []piece
		want   VoIP
	}{
		"no loss": {[]piece{{100, rx}}, VoIP{GapDuration: 2000}},
		// 4 lost, 1 received, 4 lost: a burst of 9 packets with 8 losses, after a gap of 17.
		"one burst": {[]piece{{16, rx}, {4, lost}, {1, rx}, {4, lost}, {100, rx}}, VoIP{LossRate: 256 * 8 / 125, BurstDensity: 227, BurstDuration: 180, GapDuration: 117 * 20}},
		// Single losses far apart belong to the gap.
		"single losses": {[]piece{{20, rx}, {1, lost}, {20, rx}, {1, lost}, {20, rx}, {1, lost}, {20, rx}}, VoIP{LossRate: 256 * 3 / 83, GapDensity: 256 * 2 / 82, BurstDensity: 255, BurstDuration: 20, GapDuration: 83 * 20}},
	} {
		l := newLeg(t, 1)
		seq, at := uint16(65500), 0
		for _, p := range c.pieces {
			for range p.n {
				if p.what == rx {
					l.Received(int64(at)*20e6, Arrival{SSRC: 7, Seq: seq, TS: uint32(at * 160), Payload: 160})
				}
				seq++
				at++
			}
		}
		got := l.Metrics()
		if got.LossRate != c.want.LossRate || got.BurstDensity != c.want.BurstDensity || got.GapDensity != c.want.GapDensity ||
			got.BurstDuration != c.want.BurstDuration || got.GapDuration != c.want.GapDuration {
			t.Errorf("%s: %+v\nwant %+v", name, got, c.want)
		}
	}
	// A packet that comes late is no loss, and packets of another length have other durations.
	l := newLeg(t, 1)
	for _, i := range []int{0, 1, 3, 2, 4} {
		l.Received(int64(i)*60e6, Arrival{SSRC: 7, Seq: uint16(i), TS: uint32(i * 480), Payload: 480})
	}
	if v := l.Metrics(); v.LossRate != 0 {
		t.Errorf("%+v", v)
	}
	l = newLeg(t, 1)
	for i := range 20 {
		l.Received(int64(i)*60e6, Arrival{SSRC: 7, Seq: uint16(i), TS: uint32(i * 480), Payload: 480})
	}
	if v := l.Metrics(); v.GapDuration != 1200 {
		t.Errorf("%+v", v)
	}
}

// Reduced-size reports are taken (RFC 5506 §3): what a peer sends alone counts as in a compound.
func TestR5506_ReducedSizeReportsAreTaken(t *testing.T) {
	l, err := New(0, Config{SSRC: 42, CNAME: "a", OutClock: 8000, InClock: 8000, Reduced: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{
		foreign(t, &pion.TransportLayerNack{SenderSSRC: 5, MediaSSRC: 42, Nacks: []pion.NackPair{{PacketID: 7}}}),
		foreign(t, &pion.ExtendedReport{SenderSSRC: 5, Reports: []pion.ReportBlock{&pion.VoIPMetricsReportBlock{SSRC: 42, RFactor: 77}}}),
	} {
		if _, err := l.Handle(1, b); err != nil {
			t.Error(err)
		}
	}
	if s := l.Statistics(); s.ReportsReceived != 2 || s.VoIP.R != 77 {
		t.Errorf("%+v", s)
	}
}
