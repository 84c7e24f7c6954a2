package rtcp

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/rtcp"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

const second = int64(time.Second)

func newLeg(t testing.TB, ssrc uint32) *Leg {
	t.Helper()
	l, err := New(0, Config{SSRC: ssrc, CNAME: "a7c0ffee", OutClock: 8000, InClock: 8000, WallOffset: 1_700_000_000 * second, Seed: uint64(ssrc)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRFC3550_6_4_BuildReadByForeignParser(t *testing.T) {
	l := newLeg(t, 0x11223344)
	for i := range 100 {
		l.Sent(160)
		if i%10 != 3 { // 10 lost
			l.Received(int64(i)*20e6, Arrival{SSRC: 0xaabbccdd, Seq: uint16(65530 + i), TS: uint32(i * 160), Payload: 160})
		}
	}
	out := make([]byte, MaxReport)
	n := l.Build(2*second, 16000, out)
	ps, err := pion.Unmarshal(out[:n])
	if err != nil {
		t.Fatal(err)
	}
	if err := pion.CompoundPacket(ps).Validate(); err != nil {
		t.Fatalf("compound: %v", err)
	}
	sr, ok := ps[0].(*pion.SenderReport)
	if !ok || sr.SSRC != 0x11223344 || sr.PacketCount != 100 || sr.OctetCount != 16000 || sr.RTPTime != 16000 {
		t.Fatalf("sender report %v", ps[0])
	}
	wantNTP := uint64(1_700_000_002+2208988800) << 32
	if sr.NTPTime != wantNTP {
		t.Errorf("NTP %x, want %x", sr.NTPTime, wantNTP)
	}
	r := sr.Reports[0]
	if r.SSRC != 0xaabbccdd || r.TotalLost != 10 || r.FractionLost != 10*256/100 || r.LastSequenceNumber != 1<<16+93 || r.Jitter != 0 {
		t.Errorf("block %+v", r)
	}
	if sd := ps[1].(*pion.SourceDescription); sd.Chunks[0].Source != 0x11223344 || sd.Chunks[0].Items[0].Text != "a7c0ffee" {
		t.Errorf("SDES %v", sd)
	}
	n = l.BuildBye(3*second, 24000, out)
	if ps, err = pion.Unmarshal(out[:n]); err != nil {
		t.Fatal(err)
	}
	if bye, ok := ps[len(ps)-1].(*pion.Goodbye); !ok || bye.Sources[0] != 0x11223344 {
		t.Errorf("last packet %v", ps[len(ps)-1])
	}
	if l.Due() != Never {
		t.Error("a report after BYE is still due")
	}
}

func TestRFC3550_6_4_SenderBecomesReceiver(t *testing.T) {
	l := newLeg(t, 1)
	out := make([]byte, MaxReport)
	l.Sent(10)
	var kinds []byte
	for i := range 4 {
		l.Build(int64(i)*5*second, 0, out)
		kinds = append(kinds, out[1])
	}
	if string(kinds) != string([]byte{typeSR, typeSR, typeRR, typeRR}) {
		t.Errorf("report types %v: SR for two intervals after the last packet, then RR", kinds)
	}
}

func TestRFC3550_6_4_1_RoundTripTime(t *testing.T) {
	a, b := newLeg(t, 1), newLeg(t, 2)
	out := make([]byte, MaxReport)
	a.Sent(160)
	n := a.Build(10*second, 0, out)
	b.Received(10*second, Arrival{SSRC: 1, Seq: 1})
	if _, err := b.Handle(10*second+30e6, out[:n]); err != nil { // 30 ms on the way
		t.Fatal(err)
	}
	n = b.Build(13*second, 0, out) // 2.97 s held
	info, err := a.Handle(13*second+50e6, out[:n])
	if err != nil || !info.Reported {
		t.Fatalf("%+v %v", info, err)
	}
	if rtt := a.Statistics().RTT; (rtt - 80*time.Millisecond).Abs() > 100*time.Microsecond {
		t.Errorf("round trip %v, want 80 ms", rtt)
	}
	// A forged report with a delay beyond the time that passed must not show.
	binary.BigEndian.PutUint32(out[headLen+4+20:], 0x7fff0000)
	if _, err := a.Handle(13*second+60e6, out[:n]); err != nil {
		t.Fatal(err)
	}
	if rtt := a.Statistics().RTT; rtt > time.Second || rtt <= 0 {
		t.Errorf("nonsense report gave %v", rtt)
	}
}

func TestRFC3550_A3_LossFractionAndRestart(t *testing.T) {
	l := newLeg(t, 1)
	out := make([]byte, MaxReport)
	feed := func(ssrc uint32, from, to int, skip func(int) bool) {
		for i := from; i < to; i++ {
			if !skip(i) {
				l.Received(int64(i)*20e6, Arrival{SSRC: ssrc, Seq: uint16(i), TS: uint32(i * 160), Payload: 160})
			}
		}
	}
	none := func(int) bool { return false }
	block := func() Block {
		l.Build(0, 0, out)
		return readBlock(out[headLen+4:])
	}
	feed(7, 0, 100, func(i int) bool { return i%4 == 1 })
	if b := block(); b.Fraction != 64 || b.Lost != 25 {
		t.Errorf("a quarter lost: %+v", b)
	}
	feed(7, 100, 200, none)
	if b := block(); b.Fraction != 0 || b.Lost != 25 {
		t.Errorf("then none: %+v", b)
	}
	feed(7, 190, 200, none) // duplicates
	if b := block(); b.Lost != 15 || b.Fraction != 0 {
		t.Errorf("duplicates count against loss: %+v", b)
	}
	feed(7, 30000, 30001, none) // wild: not believed
	if b := block(); b.ExtSeq != 199 {
		t.Errorf("one wild packet moved the window: %+v", b)
	}
	feed(7, 30001, 30010, none) // confirmed restart
	if b := block(); b.ExtSeq != 30009 || b.Lost != 0 {
		t.Errorf("restart: %+v", b)
	}
	feed(8, 5, 10, none)
	if b := block(); b.SSRC != 8 || b.Lost != 0 || b.ExtSeq != 9 {
		t.Errorf("new source: %+v", b)
	}
	s := l.Statistics()
	if s.PacketsLost != 15 || s.PacketsReceived != 75+100+10+1+9+5 {
		t.Errorf("statistics %+v", s)
	}
}

func TestRFC3550_A8_Jitter(t *testing.T) {
	l := newLeg(t, 1)
	want, last := 0.0, 0.0
	for i := range 400 {
		late := float64(i*7919%100) / 10 // 0..9.9 ms in steps of 0.1 ms
		l.Received(int64(i)*20e6+int64(late*1e6), Arrival{SSRC: 3, Seq: uint16(i), TS: uint32(i * 160)})
		if i > 0 {
			want += (math.Abs(late-last) - want) / 16
		}
		last = late
	}
	got := l.Statistics().Jitter.Seconds() * 1000
	if math.Abs(got-want) > 0.25 {
		t.Errorf("jitter %.2f ms, reference %.2f ms", got, want)
	}
	l.Received(400*20e6, Arrival{SSRC: 3, Seq: 400, TS: 1, Event: true})
	l.Received(401*20e6, Arrival{SSRC: 3, Seq: 401, TS: 0x80000000})
	if after := l.Statistics().Jitter.Seconds() * 1000; after > got+1 {
		t.Errorf("a clock jump counts as jitter: %.2f ms", after)
	}
}

func TestRFC3550_6_3_1_Schedule(t *testing.T) {
	l := newLeg(t, 99)
	if d := l.Due(); d < second || d > 4*second {
		t.Errorf("first report after %v, want half an interval", time.Duration(d))
	}
	out := make([]byte, MaxReport)
	var sum time.Duration
	lo, hi := time.Hour, time.Duration(0)
	for range 1000 {
		now := l.Due()
		l.Build(now, 0, out)
		d := time.Duration(l.Due() - now)
		sum += d
		lo, hi = min(lo, d), max(hi, d)
	}
	if mean := sum / 1000; mean < 3900*time.Millisecond || mean > 4300*time.Millisecond {
		t.Errorf("mean %v, want 5 s / 1.218", mean)
	}
	if lo < 2*time.Second || hi > 6200*time.Millisecond || hi-lo < 3*time.Second {
		t.Errorf("spread %v..%v", lo, hi)
	}
	off, err := New(0, Config{CNAME: "x", OutClock: 1, InClock: 1, Off: true})
	if err != nil || off.Due() != Never {
		t.Errorf("reports are off: due %v, %v", off.Due(), err)
	}
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []Config{{OutClock: 8000, InClock: 8000}, {CNAME: strings.Repeat("x", 256), OutClock: 1, InClock: 1}, {CNAME: "x", OutClock: 8000}} {
		if _, err := New(0, c); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// compound makes a valid datagram: SR with a block about ssrc, SDES, PLI, BYE.
func compound(t testing.TB, ssrc uint32) []byte {
	t.Helper()
	b, err := pion.Marshal([]pion.Packet{
		&pion.SenderReport{SSRC: 5, NTPTime: 1 << 40, RTPTime: 2, PacketCount: 3, OctetCount: 4, Reports: []pion.ReceptionReport{
			{SSRC: ssrc + 1, FractionLost: 9}, {SSRC: ssrc, FractionLost: 26, TotalLost: 77, LastSequenceNumber: 88, Jitter: 99, LastSenderReport: 1, Delay: 2},
		}},
		pion.NewCNAMESourceDescription(5, "peer"),
		&pion.PictureLossIndication{SenderSSRC: 5, MediaSSRC: ssrc},
		&pion.TransportLayerNack{SenderSSRC: 5, MediaSSRC: ssrc, Nacks: []pion.NackPair{{PacketID: 1}}},
		&pion.Goodbye{Sources: []uint32{5}, Reason: "end"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRFC3550_6_ParseForeignCompound(t *testing.T) {
	var i Info
	if err := Parse(compound(t, 42), 42, false, &i); err != nil {
		t.Fatal(err)
	}
	want := Info{Sender: 5, SR: true, NTP: 1 << 40, RTPTS: 2, Packets: 3, Octets: 4, Reported: true, Bye: true, Feedback: 2,
		Block: Block{SSRC: 42, Fraction: 26, Lost: 77, ExtSeq: 88, Jitter: 99, LSR: 1, DLSR: 2}}
	if i != want {
		t.Errorf("%+v\nwant %+v", i, want)
	}
	l := newLeg(t, 42)
	if _, err := l.Handle(0, compound(t, 42)); err != nil || l.RemoteLoss() != 11 {
		t.Errorf("remote loss %d %%, %v; 26/256 is a little over 10", l.RemoteLoss(), err)
	}
}

func TestRFC3550_A2_ParseRefuses(t *testing.T) {
	good := compound(t, 42)
	mod := func(at int, v byte) []byte {
		b := append([]byte(nil), good...)
		b[at] = v
		return b
	}
	pli := []byte{0x81, typePSFB, 0, 2, 0, 0, 0, 5, 0, 0, 0, 42}
	for _, tc := range []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", nil, ErrShort},
		{"three bytes", good[:3], ErrShort},
		{"version 1", mod(0, 0x42), ErrVersion},
		{"begins with feedback", pli, ErrCompound},
		{"begins with SDES", mod(1, typeSDES), ErrCompound},
		{"length beyond", mod(2, 0xff), ErrLength},
		{"cut", good[:len(good)-2], ErrLength},
		{"more blocks than room", mod(0, 0x9f), ErrLength},
		{"padding on the first", mod(0, 0xa2), ErrPadding},
		{"RR too short", []byte{0x80, typeRR, 0, 0}, ErrLength},
	} {
		var i Info
		if err := Parse(tc.in, 42, false, &i); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	var i Info
	if err := Parse(pli, 42, true, &i); err != nil || i.Feedback != 1 {
		t.Errorf("RFC 5506 §3 reduced size: %+v %v", i, err)
	}
	padded := append(append([]byte{0xa0, typeRR, 0, 2, 0, 0, 0, 5}, 0, 0, 0), 4)
	if err := Parse(padded, 42, false, &i); err != nil {
		t.Errorf("padding on the last packet: %v", err)
	}
	if err := Parse(append(append([]byte(nil), padded...), padded...), 42, false, &i); !errors.Is(err, ErrPadding) {
		t.Errorf("padding before the last packet: %v", err)
	}
	padded[len(padded)-1] = 16
	if err := Parse(padded, 42, false, &i); !errors.Is(err, ErrPadding) {
		t.Errorf("padding longer than the packet: %v", err)
	}
	l := newLeg(t, 42)
	if _, err := l.Handle(0, good[:9]); err == nil || l.Statistics().Refused != 1 {
		t.Error("refused datagram not counted")
	}
}

func TestNoAllocations(t *testing.T) {
	l := newLeg(t, 42)
	l.SetXR(true, true)
	in, out := compound(t, 42), make([]byte, MaxReport)
	i := 0
	if n := testing.AllocsPerRun(200, func() {
		i++
		l.Sent(160)
		l.Received(int64(i)*20e6, Arrival{SSRC: 5, Seq: uint16(i), TS: uint32(i * 160), Payload: 160})
		if _, err := l.Handle(int64(i)*20e6, in); err != nil {
			t.Fatal(err)
		}
		l.Build(int64(i)*20e6, 0, out)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(compound(f, 42), false)
	f.Add([]byte{0x80, typeRR, 0, 1, 0, 0, 0, 5}, false)
	f.Add([]byte{0x81, typePSFB, 0, 2, 0, 0, 0, 5, 0, 0, 0, 42}, true)
	f.Add([]byte{0xa0, typeRR, 0, 2, 0, 0, 0, 5, 0, 0, 0, 4}, false)
	f.Add(foreign(f, &pion.ReceiverReport{SSRC: 5}, &pion.ExtendedReport{SenderSSRC: 5, Reports: []pion.ReportBlock{
		&pion.ReceiverReferenceTimeReportBlock{NTPTimestamp: 1 << 40}, &pion.VoIPMetricsReportBlock{SSRC: 42, RFactor: 80},
		&pion.DLRRReportBlock{Reports: []pion.DLRRReport{{SSRC: 42, LastRR: 1, DLRR: 2}}},
	}}), false)
	f.Add([]byte{0x80, typeXR, 0, 2, 0, 0, 0, 5, 7, 0, 0, 8}, true)
	f.Add([]byte{0x81, typeSDES, 0, 3, 0, 0, 0, 5, itemCNAME, 1, 'c', itemMID, 1, 'a', 0, 0}, true)
	f.Fuzz(func(t *testing.T, in []byte, reduced bool) {
		mids := 0
		EachMID(in, func(_ uint32, mid []byte) {
			if mids++; len(mid) == 0 || mids > len(in)/3 {
				t.Fatalf("MID %d of %d octets in %d", mids, len(mid), len(in))
			}
		})
		var i Info
		if err := Parse(in, 42, reduced, &i); err != nil {
			return
		}
		if !reduced && rtp.Classify(in) != rtp.RTCP {
			t.Fatalf("parsed, but the demultiplexer calls it %v", rtp.Classify(in))
		}
		if len(in)%4 != 0 || i.Feedback*12 > len(in) || i.SR && len(in) < 28 || i.Reported && (i.Block.SSRC != 42 || len(in) < 32) ||
			i.Measured && (i.VoIP.SSRC != 42 || len(in) < xrHead+voipLen) || i.Reference != 0 && len(in) < xrHead+rrtLen || i.LRR != 0 && len(in) < xrHead+dlrrLen {
			t.Fatalf("%+v from %d bytes", i, len(in))
		}
		if ps, err := pion.Unmarshal(in); err == nil && len(ps) > 0 {
			if sr, ok := ps[0].(*pion.SenderReport); ok && (!i.SR || sr.SSRC != i.Sender) {
				t.Fatalf("foreign parser sees %v, we %+v", sr, i)
			}
		}
	})
}

func BenchmarkReceive(b *testing.B) {
	l := newLeg(b, 1)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		l.Received(int64(i)*20e6, Arrival{SSRC: 5, Seq: uint16(i), TS: uint32(i * 160), Payload: 160})
	}
}
