package flow

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// rig is a connected pair of terminations on a worker that does not run: the packet path as plain functions, without a kernel.
type rig struct {
	t      testing.TB
	w      *worker
	a, c   *term
	peerTx *srtp.Sender
	peerRx *srtp.Receiver
	seq    uint16
}

type fixedKeys struct{}

func (fixedKeys) ExportKeyingMaterial(_ string, _ []byte, n int) ([]byte, error) {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b, nil
}

var (
	browserAddr = netip.MustParseAddrPort("127.0.0.1:40000")
	sipAddr     = netip.MustParseAddrPort("127.0.0.1:40002")
)

func newRig(t testing.TB, profile srtp.Profile, access, core Settings) *rig {
	t.Helper()
	w, sock := newRigWorker(t)
	return newRigOn(t, w, &accessSock{sock: sock, paths: make(map[netip.AddrPort]*path)}, sock, browserAddr, profile, access, core)
}

// newRigWorker is a worker that does not run, and a socket.
func newRigWorker(t testing.TB) (*worker, *udpio.Socket) {
	t.Helper()
	cfg := &Config{}
	cfg.defaults()
	w, err := newWorker(cfg, time.Now(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.poll.Close() })
	sock, err := udpio.Open(netip.AddrPortFrom(loopback, 0), udpio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sock.Close() })
	return w, sock
}

// newRigOn makes a rig on w whose browser is at an address of the access socket as; sock is the core side's.
func newRigOn(t testing.TB, w *worker, as *accessSock, sock *udpio.Socket, browser netip.AddrPort, profile srtp.Profile, access, core Settings) *rig {
	t.Helper()
	r := &rig{t: t, w: w}
	r.keys(profile)

	acc := &Access{w: w, id: "a", cname: "a"}
	acc.newest.Store(1)
	r.a.owner = acc
	r.a.access = &accessState{t: r.a, a: acc, sock: as}
	acc.s = r.a.access
	r.a.out.sock = as.sock
	r.a.access.check(1, 1, ice.Check{From: browser, Nominated: true})

	co := &Core{w: w, id: "c", cname: "c"}
	r.c.owner = co
	r.c.core = &coreState{t: r.c, c: co, rtp: sock, rtcp: sock}
	co.s = r.c.core
	r.c.out.sock = sock
	_ = r.c.core.setRemote(0, CoreRemote{RTP: sipAddr})

	for _, s := range []struct {
		t *term
		s Settings
	}{{r.a, access}, {r.c, core}} {
		if err := s.t.configure(1, s.s); err != nil {
			t.Fatal(err)
		}
		w.join(s.t)
	}
	if err := connect(r.a, r.c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, t := range []*term{r.a, r.c} {
			if t.to != nil {
				t.to.end()
			}
		}
	})
	return r
}

func (r *rig) keys(p srtp.Profile) {
	r.t.Helper()
	ours, err := srtp.ExportKeys(fixedKeys{}, p, false)
	if err != nil {
		r.t.Fatal(err)
	}
	theirs, err := srtp.ExportKeys(fixedKeys{}, p, true)
	if err != nil {
		r.t.Fatal(err)
	}
	tx, rx, err := srtp.NewPair(p, ours)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.peerTx, r.peerRx, err = srtp.NewPair(p, theirs); err != nil {
		r.t.Fatal(err)
	}
	r.a = &term{w: r.w}
	r.a.out = outbound{secure: true, consent: true, stamp: newStamper(1), tx: tx}
	r.a.in.rx = rx
	r.c = &term{w: r.w}
	r.c.out = outbound{consent: true, stamp: newStamper(2)}
}

// fill writes the next packet of a PCMA talker into buf.
func (r *rig) fill(buf []byte, pt uint8) []byte {
	r.seq++
	rtp.PutHeader(buf, rtp.Header{PT: pt, Seq: r.seq, TS: uint32(r.seq) * 160, SSRC: 77})
	return buf[:rtp.HeaderLen+160]
}

func relaySettings() (access, core Settings) {
	s := relaySpec()
	return s.access, s.core
}

func eachProfile(t *testing.T, f func(t *testing.T, p srtp.Profile)) {
	for _, p := range []srtp.Profile{srtp.AES128GCM, srtp.AES128CMSHA1_80} {
		t.Run(p.String(), func(t *testing.T) { f(t, p) })
	}
}

func TestRelayedPacketDoesNotAllocate(t *testing.T) {
	eachProfile(t, func(t *testing.T, p srtp.Profile) {
		access, core := relaySettings()
		access.Police = &Policing{BytesPerSecond: 1 << 30, BurstBytes: 1 << 30}
		r := newRig(t, p, access, core)
		buf := make([]byte, bufferSize)
		now := int64(1)
		in := func() {
			now += int64(20 * time.Millisecond)
			prot, err := r.peerTx.ProtectRTP(r.fill(buf, 8))
			if err != nil {
				t.Fatal(err)
			}
			if out := onlyOut(r.a.access.rtp(now, prot)); len(out) != rtp.HeaderLen+160 {
				t.Fatalf("%d bytes, drops %v", len(out), r.a.in.drops.Map())
			}
		}
		if n := testing.AllocsPerRun(500, in); n > race.Allocs(1) {
			t.Errorf("browser to core: %v allocations per packet", n)
		}
		back := func() {
			now += int64(20 * time.Millisecond)
			if out := r.c.core.media(now, sipAddr, r.fill(buf, 8)); len(out) <= rtp.HeaderLen+160 {
				t.Fatalf("%d bytes, drops %v", len(out), r.c.in.drops.Map())
			}
		}
		if n := testing.AllocsPerRun(500, back); n > race.Allocs(1) {
			t.Errorf("core to browser: %v allocations per packet", n)
		}
		refused := func() {
			if r.c.core.media(now, browserAddr, r.fill(buf, 8)) != nil {
				t.Fatal("stranger passed")
			}
		}
		if n := testing.AllocsPerRun(100, refused); n != 0 {
			t.Errorf("refused packet: %v allocations", n)
		}
	})
}

// TestR3711_RefusedByItsKeyIsCounted: a packet whose keystream has been used does not leave, is not counted as sent, and is counted where it came from.
func TestR3711_RefusedByItsKeyIsCounted(t *testing.T) {
	eachProfile(t, func(t *testing.T, p srtp.Profile) {
		access, core := relaySettings()
		r := newRig(t, p, access, core)
		b := r.fill(make([]byte, bufferSize), 8)
		for i := range 2 {
			again := append(make([]byte, 0, bufferSize), b...)
			if out := r.a.seal(again); (out != nil) != (i == 0) || r.a.out.packets != 1 || r.c.in.drops[gate.Duplicate] != uint64(i) {
				t.Errorf("time %d: %d octets leave, %d packets sent, dropped %v", i+1, len(out), r.a.out.packets, r.c.in.drops.Map())
			}
		}
	})
}

func TestTranscodedPacketDoesNotAllocate(t *testing.T) {
	transcodetest.Need(t, opus)
	access := both(SendRecv, []codec.Codec{opus, ev48}, opus, ev48)
	core := both(SendRecv, []codec.Codec{pcma, ev8}, pcma, ev8)
	r := newRig(t, srtp.AES128GCM, access, core)
	buf := make([]byte, bufferSize)
	now := int64(time.Second)
	step := func() {
		now += int64(20 * time.Millisecond)
		if r.c.core.media(now, sipAddr, r.fill(buf, 8)) != nil {
			t.Fatal("transcoded packet left at once")
		}
		for {
			due, ok := r.w.clock.next()
			if !ok || due > now {
				break
			}
			r.w.clock.heap[0].of.tick(now)
		}
		r.w.flush()
	}
	for range 20 {
		step() // the pipeline is made with the first packet
	}
	sent := r.a.out.packets
	if n := testing.AllocsPerRun(200, step); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
	if r.a.out.packets < sent+190 {
		t.Errorf("%d packets coded", r.a.out.packets-sent)
	}
}

func TestFlickeringCodecDoesNotMakeCodecsPerPacket(t *testing.T) {
	access := both(SendRecv, []codec.Codec{opus, pcma, pcmu}, opus, codec.Codec{})
	core := both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{})
	r := newRig(t, srtp.AES128GCM, access, core)
	buf := make([]byte, bufferSize)
	now := int64(time.Second)
	for i := range 300 { // 6 s
		now += int64(20 * time.Millisecond)
		r.a.media(now, r.fill(buf, []uint8{111, 8, 0}[i%3]))
		r.w.flush()
	}
	if n := r.a.to.made; n > 31 {
		t.Errorf("%d transcoders made in 6 s", n)
	}
	if r.a.in.drops[gate.PayloadType] == 0 {
		t.Error("nothing was refused")
	}
}

func TestReportedLossReachesTheEncoder(t *testing.T) {
	access := both(SendRecv, []codec.Codec{opus}, opus, codec.Codec{})
	core := both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{})
	r := newRig(t, srtp.AES128GCM, access, core)
	buf := make([]byte, bufferSize)
	r.c.core.media(2, sipAddr, r.fill(buf, 8))
	r.a.control(3, lossReport(9, 1, 51)) // 20 % of our stream to the browser
	if r.c.to.loss != 20 || r.a.to.loss != 0 {
		t.Errorf("loss %d %% towards the browser, %d %% towards the core", r.c.to.loss, r.a.to.loss)
	}
}

// TestR8445_1_MediaOnAnyValidPairMovesNothing: RFC 8445 §12.2 lets the peer's media come on a valid pair that is not selected; where ours
// goes is up to its nominations alone.
func TestR8445_1_MediaOnAnyValidPairMovesNothing(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	other := netip.MustParseAddrPort("127.0.0.1:40010")
	as, to := r.a.access.sock, r.a.out.addr
	for i, known := range []bool{false, true} {
		prot, _ := r.peerTx.ProtectRTP(r.fill(make([]byte, bufferSize), 8))
		r.w.accessPacket(as, prot, other)
		if got := r.a.in.packets; got != uint64(i) {
			t.Errorf("address valid: %v, %d packets admitted", known, got)
		}
		r.a.access.check(2, 1, ice.Check{From: other}) // not nominated
	}
	if r.a.access.selected != browserAddr || r.a.out.addr != to || r.w.count.stray.Load() != 1 {
		t.Errorf("selected %v, %d strays", r.a.access.selected, r.w.count.stray.Load())
	}
}

func TestPathOfALiveTerminationCannotBeClaimed(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	thief := &accessState{t: &term{w: r.w, owner: r.a.owner}, a: r.a.access.a, sock: r.a.access.sock}
	thief.t.access = thief
	thief.check(2, 1, ice.Check{From: browserAddr, Nominated: true})
	if thief.selected.IsValid() || r.a.access.sock.paths[browserAddr].owner != r.a.access {
		t.Error("the address of a live browser was taken over")
	}
	thief.check(pathLife+2, 1, ice.Check{From: browserAddr, Nominated: true})
	if thief.selected != browserAddr || r.a.access.sock.paths[browserAddr].owner != thief {
		t.Error("an address out of use stays blocked")
	}
}

func TestPathsAreBounded(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	for i := range 3 * maxPaths {
		r.a.access.check(int64(i+2), 1, ice.Check{From: netip.AddrPortFrom(loopback, uint16(50000+i))})
	}
	if n := len(r.a.access.paths); n != maxPaths || len(r.a.access.sock.paths) != maxPaths {
		t.Errorf("%d paths", n)
	}
	if r.a.access.sock.paths[browserAddr] == nil {
		t.Error("the selected path was forgotten")
	}
	r.a.access.sweep(2 * pathLife)
	if n := len(r.a.access.paths); n != 1 {
		t.Errorf("%d paths after their life", n)
	}
}

func TestHeaderExtensionsAndCSRCStayOnTheirLeg(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	plain := []byte{0x91, 8, 0, 1, 0, 0, 0, 160, 0, 0, 0, 77, 1, 2, 3, 4, 0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0, 'h', 'i'}
	prot, _ := r.peerTx.ProtectRTP(append(make([]byte, 0, bufferSize), plain...))
	out := onlyOut(r.a.access.rtp(2, prot))
	if len(out) != rtp.HeaderLen+2 || out[0] != 0x80 || string(out[12:]) != "hi" {
		t.Errorf("out % x, drops %v", out, r.a.in.drops.Map())
	}
}

func FuzzAccessPacket(f *testing.F) {
	f.Add([]byte{0x80, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3})
	f.Add([]byte{0x80, 200, 0, 1, 0, 0, 0, 1})
	f.Add([]byte{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0})
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	access, core := relaySettings()
	r := newRig(f, srtp.AES128GCM, access, core)
	as := r.a.access.sock
	as.mux = ice.NewMux(browserAddr, func([]byte, netip.AddrPort) error { return nil }, testPool)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > readSize {
			return
		}
		sent := r.c.out.packets
		for _, src := range []netip.AddrPort{browserAddr, sipAddr} {
			r.w.accessPacket(as, append(make([]byte, 0, bufferSize), b...), src)
		}
		if r.c.out.packets != sent {
			t.Fatal("unauthenticated media passed")
		}
		r.w.flush()
	})
}

func FuzzCorePacket(f *testing.F) {
	f.Add([]byte{0x80, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3}, false)
	f.Add([]byte{0x80, 200, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, true)
	f.Add([]byte{0x90, 101, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xbe, 0xde, 0, 1, 0, 0, 0, 0, 5, 0x80, 1, 0}, false)
	access, core := relaySettings()
	r := newRig(f, srtp.AES128GCM, access, core)
	now := int64(0)
	f.Fuzz(func(t *testing.T, b []byte, control bool) {
		if len(b) > readSize {
			return
		}
		now += int64(time.Millisecond)
		r.w.now = now
		r.w.corePacket(r.c.core, append(make([]byte, 0, bufferSize), b...), sipAddr, control)
		r.c.sweep(now)
		r.w.flush()
	})
}

func FuzzTranscodedPayload(f *testing.F) {
	f.Add([]byte{0x08, 1, 2, 3}, uint8(111), uint16(1), uint32(960))
	f.Add([]byte{0xfc, 0xff, 0xfe}, uint8(111), uint16(2), uint32(1920))
	f.Add([]byte{5, 0x80, 1, 0}, uint8(110), uint16(3), uint32(1920))
	f.Add([]byte{}, uint8(111), uint16(65535), uint32(1<<31))
	access := both(SendRecv, []codec.Codec{opus, pcma, ev48}, opus, ev48)
	core := both(SendRecv, []codec.Codec{pcma, ev8}, pcma, ev8)
	r := newRig(f, srtp.AES128GCM, access, core)
	now := int64(time.Second)
	buf := make([]byte, bufferSize)
	f.Fuzz(func(t *testing.T, payload []byte, pt uint8, seq uint16, ts uint32) {
		if len(payload) > 1400 {
			return
		}
		now += int64(7 * time.Millisecond)
		rtp.PutHeader(buf, rtp.Header{PT: pt, Seq: seq, TS: ts, SSRC: 5})
		n := rtp.HeaderLen + copy(buf[rtp.HeaderLen:], payload)
		if out := r.a.media(now, buf[:n]); out != nil {
			if _, err := rtp.Parse(out); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			due, ok := r.w.clock.next()
			if !ok || due > now {
				break
			}
			r.w.clock.heap[0].of.tick(now)
		}
		r.a.sweep(now)
		r.w.flush()
	})
}

func BenchmarkRelay(b *testing.B) {
	for _, p := range []srtp.Profile{srtp.AES128GCM, srtp.AES128CMSHA1_80} {
		access, core := relaySettings()
		b.Run("to_browser/"+p.String(), func(b *testing.B) {
			r := newRig(b, p, access, core)
			buf := make([]byte, bufferSize)
			now := int64(1)
			for b.Loop() {
				now += int64(20 * time.Millisecond)
				if r.c.core.media(now, sipAddr, r.fill(buf, 8)) == nil {
					b.Fatal(r.c.in.drops.Map())
				}
			}
		})
		b.Run("to_core/"+p.String(), func(b *testing.B) {
			r := newRig(b, p, access, core)
			const lot = 512
			bufs, lens := slab(lot), make([]int, lot)
			now := int64(1)
			i := lot
			for b.Loop() {
				if i == lot {
					b.StopTimer()
					for j := range bufs {
						prot, _ := r.peerTx.ProtectRTP(r.fill(bufs[j], 8))
						lens[j] = len(prot)
					}
					i = 0
					b.StartTimer()
				}
				now += int64(20 * time.Millisecond)
				if onlyOut(r.a.access.rtp(now, bufs[i][:lens[i]])) == nil {
					b.Fatal(r.a.in.drops.Map())
				}
				i++
			}
		})
	}
}

func checkFrom(a netip.AddrPort) ice.Check { return ice.Check{From: a} }

// BenchmarkTranscodedCall is one call's work in 20 ms: Opus to PCMA and back, SRTP on the browser's side, without a kernel.
func BenchmarkTranscodedCall(b *testing.B) {
	access := both(SendRecv, []codec.Codec{opus}, opus, codec.Codec{})
	core := both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{})
	r := newRig(b, srtp.AES128GCM, access, core)
	enc, err := transcode.NewEncoder(opus, transcode.EncoderConfig{Rate: 8000})
	if err != nil {
		b.Fatal(err)
	}
	defer enc.Close()
	const lot = 250 // 5 s of voice-like sound, coded ahead
	frames := make([][]byte, lot)
	alaw := make([][]byte, lot)
	ga, err := transcode.NewEncoder(pcma, transcode.EncoderConfig{Rate: 8000})
	if err != nil {
		b.Fatal(err)
	}
	pcm := make([]int16, 160)
	for i := range frames {
		for j := range pcm {
			t := float64(i*160+j) / 8000
			pcm[j] = int16(6000 * math.Sin(2*math.Pi*(200+80*math.Sin(3*t))*t) * (1 + math.Sin(9*t)))
		}
		out := make([]byte, transcode.MaxPayload)
		n, err := enc.Encode(pcm, out)
		if err != nil {
			b.Fatal(err)
		}
		frames[i] = out[:n]
		out = make([]byte, transcode.MaxPayload)
		n, _ = ga.Encode(pcm, out)
		alaw[i] = out[:n]
	}
	now, seq := int64(time.Second), uint16(0)
	in, back := make([]byte, bufferSize), make([]byte, bufferSize)
	for b.Loop() {
		now += int64(20 * time.Millisecond)
		seq++
		rtp.PutHeader(in, rtp.Header{PT: 111, Seq: seq, TS: uint32(seq) * 960, SSRC: 1})
		p, _ := r.peerTx.ProtectRTP(in[:rtp.HeaderLen+copy(in[rtp.HeaderLen:], frames[int(seq)%lot])])
		r.a.access.rtp(now, p)
		rtp.PutHeader(back, rtp.Header{PT: 8, Seq: seq, TS: uint32(seq) * 160, SSRC: 2})
		r.c.core.media(now, sipAddr, back[:rtp.HeaderLen+copy(back[rtp.HeaderLen:], alaw[int(seq)%lot])])
		for {
			due, ok := r.w.clock.next()
			if !ok || due > now {
				break
			}
			r.w.clock.heap[0].of.tick(now)
		}
		r.w.writer.Flush()
		r.w.ownUsed = 0
	}
	b.ReportMetric(20e6/(float64(b.Elapsed().Nanoseconds())/float64(b.N)), "calls/core")
}
