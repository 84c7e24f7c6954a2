package flow

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/signals"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// duo is a stage with a second line: stream 2 of its access termination and a core termination of its own.
type duo struct {
	*stage
	test  *testing.T
	u, d  *term
	end   *net.UDPConn
	heard map[uint32][]arrival // by our SSRC
}

func newDuo(t *testing.T, access, core Settings) *duo {
	t.Helper()
	named("a")(&access)
	x := &duo{test: t, stage: newStage(t, access, core), heard: map[uint32][]arrival{}}
	s := x.a.access
	st := &AccessStream{a: s.a, ssrc: 3}
	x.u = &term{owner: st, w: x.w, number: 2, access: s}
	st.t = x.u
	x.u.out = outbound{secure: true, stamp: newStamper(3)}
	if err := s.add(x.u); err != nil {
		t.Fatal(err)
	}
	var err error
	if x.end, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.end.Close() })
	co := &Core{w: x.w, id: "c", cname: "c"}
	x.d = &term{owner: co, w: x.w, number: 2}
	x.d.core = &coreState{t: x.d, c: co, rtp: x.c.core.rtp, rtcp: x.c.core.rtcp}
	co.s = x.d.core
	x.d.out = outbound{consent: true, sock: x.c.out.sock, stamp: newStamper(4)}
	if err := x.d.core.setRemote(0, CoreRemote{RTP: addrPortOf(x.end)}); err != nil {
		t.Fatal(err)
	}
	access.MID = "b"
	if err := x.u.configure(1, access); err != nil {
		t.Fatal(err)
	}
	if err := x.d.configure(1, core); err != nil {
		t.Fatal(err)
	}
	x.d.begin()
	if err := connect(x.u, x.d); err != nil {
		t.Fatal(err)
	}
	return x
}

// browse lets a packet of the browser in as if it had been decrypted.
func (x *duo) browse(p []byte) {
	x.t.Helper()
	b := make([]byte, bufferSize)
	b = b[:copy(b, p):bufferSize]
	to := x.a.access.assign(b)
	if to == nil {
		x.t.Fatal("of no stream")
	}
	if out := to.media(x.now, b); out != nil {
		x.w.send(to.partner, out)
	}
}

func (x *duo) step() {
	x.t.Helper()
	x.code()
	for _, t := range x.w.terms {
		t.to.rest(x.now)
	}
	x.w.flush()
	x.w.used = 0
	for i, u := range []*net.UDPConn{x.ends[browserEnd], x.ends[coreEnd], x.end} {
		for p := x.receive(u, min(i, coreEnd)); p != nil; p = x.receive(u, min(i, coreEnd)) {
			if all := x.heard[p.SSRC()]; len(all) > 0 && p.Seq() != all[len(all)-1].Seq()+1 {
				x.t.Fatalf("SSRC %x: number %d after %d", p.SSRC(), p.Seq(), all[len(all)-1].Seq())
			}
			x.heard[p.SSRC()] = append(x.heard[p.SSRC()], arrival{p, x.now})
		}
	}
}

// share is how much of what came from a term of ours since a time is at a frequency.
func (x *duo) share(of *term, c codec.Codec, since int64, hz float64) float64 {
	x.t.Helper()
	e := newEar(x.test, c)
	for _, p := range x.heard[of.out.stamp.SSRC()] {
		if p.PT() == c.PT && p.at >= since {
			e.hear(p.Packet)
		}
	}
	if len(e.pcm) < 4000 {
		return 0
	}
	return e.share(hz, len(e.pcm)/2)
}

// TestStreamsAreCodedOneByOne: two lines of Opus become PCMA by codecs of their own; keys, signals and hold of the second are its own, and nothing of it is
// left when it ends, while the first goes on.
func TestStreamsAreCodedOneByOne(t *testing.T) {
	transcodetest.Need(t, opus)
	spec := transcodeSpec()
	spec.access.Armed = DTMF.Bit()
	x := newDuo(t, spec.access, spec.core)
	lines := []struct {
		access, core *term
		up, down     *tone
		mid          string
		hz           [2]float64
	}{
		{x.a, x.c, newTone(t, opus, 1000, 0xb1), newTone(t, pcma, 600, 0xc1), "a", [2]float64{1000, 600}},
		{x.u, x.d, newTone(t, opus, 1700, 0xb2), newTone(t, pcma, 2300, 0xc2), "b", [2]float64{1700, 2300}},
	}
	talk := func(steps int, which ...int) (since int64) {
		since = x.now
		for range steps {
			for _, i := range which {
				x.browse(withMID(lines[i].mid, lines[i].up.next()))
				x.speak(lines[i].core, lines[i].down.next())
			}
			x.step()
		}
		return since + int64(200*time.Millisecond) // what was on its way before is not judged
	}
	hears := func(when string, since int64, which ...int) {
		t.Helper()
		for _, i := range which {
			l := lines[i]
			if up, down := x.share(l.core, pcma, since, l.hz[0]), x.share(l.access, opus, since, l.hz[1]); up < 0.8 || down < 0.8 {
				t.Errorf("%s: line %d: the core hears %.2f of its tone, the browser %.2f", when, i+1, up, down)
			}
		}
	}
	hears("at first", talk(60, 0, 1), 0, 1)
	if n := len(x.w.clock.heap); n != 4 || x.w.timed != 4 || x.a.access.sock.timed != 2 {
		t.Errorf("%d codecs, %d timed sources, %d of them on the access port", n, x.w.timed, x.a.access.sock.timed)
	}

	seq := lines[1].up.seq
	events := func(of *term) (n int) {
		for _, p := range x.heard[of.out.stamp.SSRC()] {
			if p.PT() == ev8.PT {
				n++
			}
		}
		return n
	}
	press(func(p []byte) { x.browse(withMID("b", p)); x.step() }, ev48, 0xb2, &seq, uint32(seq)*960, 5)
	lines[1].up.seq = seq
	talk(30, 0, 1)
	if ev := x.told(DTMF); len(ev) != 1 || ev[0].Stream != 2 || ev[0].Digit != dtmf.Digit(5) || ev[0].Endpoint != x.u.owner {
		t.Errorf("keys: %+v", ev)
	}
	if a, b := events(x.c), events(x.d); a != 0 || b < 3 {
		t.Errorf("core peer 1 has %d events, 2 has %d", a, b)
	}

	if err := x.u.play(x.now, Signals{List: []audio.Item{sounding(signals.Dial, 0, 0)}}); err != nil {
		t.Fatal(err)
	}
	since := talk(60, 0, 1)
	hears("a signal on line 2", since, 0)
	if tone := x.share(x.u, opus, since, 425); tone < 0.8 {
		t.Errorf("the browser hears %.2f of the signal on line 2", tone)
	}
	if err := x.u.play(x.now, Signals{}); err != nil {
		t.Fatal(err)
	}
	hears("after the signal", talk(60, 0, 1), 0, 1)
	if ev := x.told(SignalDone); len(ev) != 1 || ev[0].Stream != 2 || ev[0].Endpoint != x.u.owner {
		t.Errorf("end of the signal: %+v", ev)
	}

	held := x.u.set
	held.Mode = Inactive
	if err := x.u.configure(x.now, held); err != nil {
		t.Fatal(err)
	}
	talk(110, 0, 1) // what the codecs of line 2 have left
	before := len(x.heard[x.u.out.stamp.SSRC()]) + len(x.heard[x.d.out.stamp.SSRC()])
	hears("line 2 on hold", talk(60, 0, 1), 0)
	if after := len(x.heard[x.u.out.stamp.SSRC()]) + len(x.heard[x.d.out.stamp.SSRC()]); after != before {
		t.Errorf("%d packets of the line on hold", after-before)
	}
	if n := len(x.w.clock.heap); n != 2 {
		t.Errorf("%d codecs while line 2 is on hold", n)
	}
	held.Mode = SendRecv
	if err := x.u.configure(x.now, held); err != nil {
		t.Fatal(err)
	}
	hears("resumed", talk(60, 0, 1), 0, 1)

	if err := x.u.play(x.now, Signals{List: []audio.Item{sounding(signals.Busy, 0, 0)}}); err != nil {
		t.Fatal(err)
	}
	x.a.access.remove(x.u)
	final := x.u.owner.(*AccessStream).figures()
	if x.d.partner != nil || x.u.partner != nil {
		t.Error("line 2 has ended and is connected still")
	}
	codecs := len(x.w.clock.heap)
	x.d.close()
	if n := codecs; n != 2 || x.w.timed != 2 || x.a.access.sock.timed != 1 || len(x.w.terms) != 2 {
		t.Errorf("line 2 has ended: %d codecs, %d timed sources, %d of them on the access port, %d terminations", n, x.w.timed, x.a.access.sock.timed, len(x.w.terms))
	}
	if final.CodecReceived != "opus/48000/2" || final.PacketsReceived < 250 || !final.Transcoding {
		t.Errorf("statistics of line 2: %+v", final)
	}
	hears("without line 2", talk(60, 0), 0)
}
