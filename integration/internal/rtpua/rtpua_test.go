package rtpua

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtp"
	"go.uber.org/goleak"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

func open(t *testing.T, cfg Config) *Endpoint {
	t.Helper()
	cfg.IP = loopback
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func addrOf(e *Endpoint) netip.AddrPort { return netip.AddrPortFrom(loopback, uint16(e.Port())) }

func both(remote *Endpoint, law tone.Law, pt uint8) Params {
	return Params{Remote: addrOf(remote), Law: law, PT: pt, EventPT: 101, Send: true, Recv: true}
}

func TestTonesBothWaysWithEventsAndReports(t *testing.T) {
	var digits = make(chan byte, 16)
	a := open(t, Config{RTCPInterval: 100 * time.Millisecond})
	b := open(t, Config{RTCPInterval: 100 * time.Millisecond, OnDigit: func(d byte) { digits <- d }})
	if a.Port()%2 != 0 || b.Port()%2 != 0 {
		t.Fatalf("RTP on odd ports: %d %d", a.Port(), b.Port())
	}
	var recA, recB Recorder
	a.SetSink(&recA)
	b.SetSink(&recB)
	a.SetSource(tone.NewSine(1000, -15))
	b.SetSource(tone.NewSine(440, -15))
	a.SetParams(both(b, tone.MuLaw, 0))
	b.SetParams(both(a, tone.MuLaw, 0))
	wait.Until(t, "tones", func() bool {
		atA, secA, _ := recA.Heard()
		atB, secB, _ := recB.Heard()
		return secA >= 0.6 && secB >= 0.6 && atA.IsTone(440, 2) && atB.IsTone(1000, 2)
	})
	if err := a.SendDigits(context.Background(), "15#"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []byte("15#") {
		select {
		case got := <-digits:
			if got != want {
				t.Fatalf("digit %c, want %c", got, want)
			}
		case <-time.After(wait.Limit):
			t.Fatalf("digit %c never came", want)
		}
	}
	wait.Until(t, "reports with loss and round trip", func() bool {
		s := a.Stats().RTCP
		return s.Received > 2 && s.RoundTrip > 0 && s.RemoteCNAME == "test@127.0.0.1"
	})
	s := b.Stats()
	if s.Recv.Discontinuities() != 0 || s.Recv.Lost != 0 || s.Recv.Events != 3 || s.Recv.MarkedJumps != 0 {
		t.Errorf("receiver saw %+v", s.Recv)
	}
	a.Close()
	wait.Until(t, "BYE", func() bool { return b.Stats().RTCP.Goodbyes == 1 })
}

func TestHoldStopsMediaAndResumeContinues(t *testing.T) {
	a, b := open(t, Config{}), open(t, Config{})
	var rec Recorder
	b.SetSink(&rec)
	a.SetSource(tone.NewSine(600, -15))
	pa, pb := both(b, tone.ALaw, 8), both(a, tone.ALaw, 8)
	a.SetParams(pa)
	b.SetParams(pb)
	wait.Until(t, "audio", func() bool { return rec.Total() > 1600 })
	held := pa
	held.Send = false
	a.SetParams(held)
	sent := a.Stats().SentPackets
	// Media time passes while held: three ticks of b's sender prove at least 60 ms have gone by.
	ticks := b.Stats().SentPackets
	wait.Until(t, "time on hold", func() bool { return b.Stats().SentPackets >= ticks+5 })
	if got := a.Stats().SentPackets; got != sent {
		t.Errorf("%d packets sent on hold", got-sent)
	}
	a.SetParams(pa)
	wait.Until(t, "audio again", func() bool { return a.Stats().SentPackets > sent+10 })
	s := b.Stats().Recv
	if s.SSRCChanges+s.SeqJumps+s.TSBackwards+s.TSJumps != 0 || s.MarkedJumps != 1 {
		t.Errorf("after resume: %+v", s)
	}
}

func TestStrangersMoveNothing(t *testing.T) {
	a, b := open(t, Config{}), open(t, Config{})
	var rec Recorder
	b.SetSink(&rec)
	b.SetParams(both(a, tone.ALaw, 8))
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addrOf(b)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, _ := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8}, Payload: make([]byte, 160)}).Marshal()
	c.Write(p)
	wait.Until(t, "stranger counted", func() bool { return b.Stats().Recv.Strangers == 1 })
	if rec.Total() != 0 || b.Stats().Recv.Packets != 0 {
		t.Error("a stranger was heard")
	}
}

func TestSendDigitsErrors(t *testing.T) {
	a := open(t, Config{})
	if err := a.SendDigits(context.Background(), "1"); err != ErrNoEvents {
		t.Errorf("without telephone-event: %v", err)
	}
	a.SetParams(Params{EventPT: 101})
	if err := a.SendDigits(context.Background(), "x"); err == nil {
		t.Error("x was sent as a digit")
	}
}

// strict drives a receiver without sockets: packets of one SSRC, 160 ticks per sequence number.
type strict struct {
	r *receiver
	n int
}

func newStrict() *strict {
	r := newReceiver()
	r.setParams(Params{PT: 8, EventPT: 101, Recv: true, Law: tone.ALaw})
	return &strict{r: r}
}

func (s *strict) feed(seq uint16, ts uint32, mod ...func(*rtp.Packet)) {
	p := rtp.Packet{
		Header:  rtp.Header{Version: 2, PayloadType: 8, SequenceNumber: seq, Timestamp: ts, SSRC: 7},
		Payload: make([]byte, tone.FrameLen),
	}
	for _, m := range mod {
		m(&p)
	}
	s.n++
	s.r.insert(p, time.Duration(s.n)*Frame, discard{})
}

func marked(p *rtp.Packet)     { p.Marker = true }
func otherSSRC(p *rtp.Packet)  { p.SSRC = 8 }
func pressOfOne(p *rtp.Packet) { p.PayloadType = 101; p.Payload = []byte{1, 10, 0, 160} }

func TestStrictReceiverCounts(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(*strict)
		want func(Receive) bool
	}{
		{"clean, across both wraps", func(s *strict) {
			for i := range uint16(20) {
				s.feed(65530+i, 0xffffff00+uint32(i)*160)
			}
		}, func(r Receive) bool {
			return r.Discontinuities() == 0 && r.Lost == 0 && r.Packets == 20 && r.Jitter == 0
		}},
		{"one lost", func(s *strict) {
			for _, i := range []uint16{1, 2, 4, 5, 6, 7} {
				s.feed(i, uint32(i)*160)
			}
		}, func(r Receive) bool { return r.Lost == 1 && r.Discontinuities() == 0 }},
		{"reordered", func(s *strict) {
			for _, i := range []uint16{1, 3, 2, 4} {
				s.feed(i, uint32(i)*160)
			}
		}, func(r Receive) bool { return r.Lost == 0 && r.Reordered == 1 && r.Discontinuities() == 0 }},
		{"duplicate", func(s *strict) {
			for _, i := range []uint16{1, 2, 2, 3} {
				s.feed(i, uint32(i)*160)
			}
		}, func(r Receive) bool { return r.Duplicates == 1 && r.Discontinuities() == 0 }},
		{"timestamp jump", func(s *strict) { s.feed(1, 160); s.feed(2, 500) },
			func(r Receive) bool { return r.TSJumps == 1 }},
		{"timestamp jump at a marker", func(s *strict) { s.feed(1, 160); s.feed(2, 5000, marked) },
			func(r Receive) bool { return r.TSJumps == 0 && r.MarkedJumps == 1 }},
		{"timestamp back", func(s *strict) { s.feed(1, 1600); s.feed(2, 160, marked) },
			func(r Receive) bool { return r.TSBackwards == 1 }},
		{"new SSRC", func(s *strict) { s.feed(1, 160); s.feed(2, 320, otherSSRC) },
			func(r Receive) bool { return r.SSRCChanges == 1 }},
		{"sequence jump", func(s *strict) { s.feed(1, 160); s.feed(1000, 320) },
			func(r Receive) bool { return r.SeqJumps == 1 }},
		{"one press in five packets", func(s *strict) {
			s.feed(1, 160)
			for i := range uint16(5) {
				s.feed(2+i, 320, pressOfOne)
			}
			s.feed(7, 320+5*160, marked)
			s.feed(8, 320+20*160, pressOfOne)
		}, func(r Receive) bool { return r.Events == 2 && r.Digits == "11" && r.Discontinuities() == 0 }},
	} {
		s := newStrict()
		c.run(s)
		if !c.want(s.r.stats) {
			t.Errorf("%s: %+v", c.name, s.r.stats)
		}
	}
}

func TestEchoReturnsAudioAndStaysBounded(t *testing.T) {
	var e Echo
	in := make([]int16, 160)
	tone.NewSine(1000, -10).Fill(in)
	e.Write(in)
	out := make([]int16, 160)
	e.Fill(out)
	if out[5] != in[5] || !e.Fill(out) || tone.Level(out) > -100 {
		t.Error("echo must return what came, then silence")
	}
	for range 1000 {
		e.Write(in)
	}
	if len(e.buf) > echoMax {
		t.Errorf("echo keeps %d samples", len(e.buf))
	}
}

func TestRecorderKeepsTheNewest(t *testing.T) {
	r := Recorder{Max: 400}
	for i := range int16(20) {
		pcm := make([]int16, 160)
		pcm[0] = i
		r.Write(pcm)
	}
	got := r.Samples(160)
	if r.Total() != 3200 || len(got) != 160 || got[0] != 19 || len(r.Samples(0)) > 800+160 {
		t.Errorf("total %d, newest %d, kept %d", r.Total(), got[0], len(r.Samples(0)))
	}
}
