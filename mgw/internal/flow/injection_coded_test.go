package flow

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	pionsrtp "github.com/pion/srtp/v3"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// codedCall is a transcoded call in which everything that is sent comes by the sockets' way in. Its strangers send first, each 20 ms.
type codedCall struct {
	*stage
	up, down  *tone // what the peers say
	evil      [2]*tone
	strangers bool
	away      netip.AddrPort    // where strangers are
	forger    *pionsrtp.Context // of a browser's kind, with other keys; unlike a Sender it takes any number again
	evilKeys  *peerCrypto
	core      CoreRemote
	from      netip.AddrPort // the core's peer
	count     int            // of frames
}

func newCodedCall(t *testing.T, c codec.Codec, suite string, strangers bool) *codedCall {
	t.Helper()
	x := &codedCall{
		stage: newStage(t, both(SendRecv, []codec.Codec{c}, c, codec.Codec{}), both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{})), strangers: strangers,
		up: newTone(t, c, 1000, 0xbb), down: newTone(t, pcma, 600, 0xcc), evil: [2]*tone{newTone(t, c, 1700, 0xbb), newTone(t, pcma, 1700, 0xcc)},
		away: netip.MustParseAddrPort("127.0.0.9:40000"),
	}
	x.w.cfg.Events = func(e Event) { x.ev = append(x.ev, e) }
	for _, term := range []*term{x.a, x.c} {
		term.set.Armed = AllEvents
	}
	x.a.access.sock.mux = ice.NewMux(browserAddr, func([]byte, netip.AddrPort) error { return nil }, testPool)
	x.from = addrPortOf(x.ends[coreEnd])
	x.core = CoreRemote{RTP: x.from}
	known := suite
	if known == "" {
		known = srtp.Profiles[0].Suite()
	}
	co := x.c.core.c
	co.local.Keys = newKeys()
	x.evilKeys = newPeerCrypto(t, co.local, known, 66)
	if suite != "" {
		x.peer = newPeerCrypto(t, co.local, suite, 1)
		x.core.Secure, x.core.Crypto = true, x.peer.own
	}
	var err error
	if x.forger, err = pionsrtp.CreateContext(bytes.Repeat([]byte{66}, 16), bytes.Repeat([]byte{66}, 12), pionsrtp.ProtectionProfileAeadAes128Gcm); err != nil {
		t.Fatal(err)
	}
	return x
}

// arrives gives the gateway a datagram, as its sockets do.
func (x *codedCall) arrives(access bool, src netip.AddrPort, b []byte, control bool) {
	buf := make([]byte, bufferSize)
	buf = buf[:copy(buf, b):bufferSize]
	if x.w.now = x.now; access {
		x.w.accessPacket(x.a.access.sock, buf, src)
	} else {
		x.w.corePacket(x.c.core, buf, src, control)
	}
	x.w.drain()
}

// frame lets 20 ms pass, in which the peers say something or not.
func (x *codedCall) frame(speak bool) {
	x.t.Helper()
	x.count++
	var up, down, upWire, downWire []byte
	if speak {
		up, down = x.up.next(), x.down.next()
		upWire, downWire = x.browserWire(up), down
		if x.peer != nil {
			downWire = x.peer.protect(down)
		}
	}
	if x.strangers {
		x.attack(upWire, downWire)
	}
	if speak {
		x.arrives(true, x.a.access.selected, upWire, false)
		x.arrives(false, x.from, downWire, false)
	}
	if x.strangers && speak { // and again, from the peers' own addresses: with plain RTP nothing tells that from the peer
		x.arrives(true, x.a.access.selected, upWire, false)
		if x.peer != nil {
			x.arrives(false, x.from, downWire, false)
		}
	}
	x.step()
}

func (x *codedCall) browserWire(p []byte) []byte {
	x.t.Helper()
	out, err := x.peerTx.ProtectRTP(append(make([]byte, 0, bufferSize), p...))
	if err != nil {
		x.t.Fatal(err)
	}
	return out
}

// attack sends what strangers have: audio of the right codec, another tone, with an SSRC of its own and with the peer's and a number that is due, in clear and
// under other keys; the peers' packets before they come; reports and a BYE in the peers' names.
func (x *codedCall) attack(up, down []byte) {
	x.t.Helper()
	for i, access := range []bool{true, false} {
		peer := []*tone{x.up, x.down}[i]
		for _, ssrc := range []uint32{0xbad, peer.ssrc} {
			e := x.evil[i]
			e.seq, e.ssrc = peer.seq, ssrc
			plain := e.next()
			forged, err := x.forger.EncryptRTP(nil, plain, nil)
			if err != nil {
				x.t.Fatal(err)
			}
			bye := []byte{0x80, 201, 0, 1, byte(ssrc >> 24), byte(ssrc >> 16), byte(ssrc >> 8), byte(ssrc), 0x81, 203, 0, 1, byte(ssrc >> 24), byte(ssrc >> 16), byte(ssrc >> 8), byte(ssrc)}
			// From the peers' own addresses no more SSRCs that are not known than the bucket of srtp.Receiver has tokens for: beyond them new ones have to wait.
			rarely := x.count%20 == 0
			near := ssrc != 0xbad || rarely
			x.arrives(access, x.away, bye, true)
			x.arrives(access, x.away, plain, false)
			if access {
				x.arrives(true, x.away, forged, false)
				if near {
					x.arrives(true, x.a.access.selected, plain, false)
					x.arrives(true, x.a.access.selected, forged, false)
				}
				if rarely {
					x.arrives(true, x.a.access.selected, bye, true)
				}
				continue
			}
			x.arrives(false, x.away, x.evilKeys.protect(plain), false)
			if x.peer != nil && near {
				x.arrives(false, x.from, plain, false)
				x.arrives(false, x.from, x.evilKeys.protect(plain), false)
				if rarely {
					x.arrives(false, x.from, bye, true)
				}
			}
		}
	}
	if up != nil {
		x.arrives(true, x.away, up, false)
		x.arrives(false, x.away, down, false)
	}
}

func (x *codedCall) frames(n int, speak bool) {
	x.t.Helper()
	for range n {
		x.frame(speak)
	}
}

func (x *codedCall) agree(latch LatchMode) {
	x.t.Helper()
	r := x.core
	if r.Latch = latch; latch != LatchOff {
		r.RTP, r.Filter = netip.MustParseAddrPort("127.0.0.1:9"), []netip.Prefix{netip.PrefixFrom(loopback, 32)}
	}
	if err := x.c.core.setRemote(x.now, r); err != nil {
		x.t.Fatal(err)
	}
}

func (x *codedCall) mode(m Mode) {
	x.t.Helper()
	for _, term := range []*term{x.a, x.c} {
		s := term.set
		s.Mode = m
		if err := term.configure(x.now, s); err != nil {
			x.t.Fatal(err)
		}
	}
}

// run goes through a call.
func (x *codedCall) run() {
	x.t.Helper()
	tx, rx := x.a.out.tx, x.a.in.rx
	x.a.out.tx, x.a.in.rx = nil, nil
	if err := x.c.core.setRemote(x.now, CoreRemote{Secure: x.peer != nil}); err != nil {
		x.t.Fatal(err)
	}
	x.frames(5, false) // set-up, nothing agreed
	x.agree(LatchOff)
	x.frames(5, false)
	x.a.out.tx, x.a.in.rx = tx, rx
	x.frames(5, false) // before the first packet
	x.frames(30, true)
	x.frames(20, false) // silence mid-call: the jitter buffers are empty, and whoever comes next begins anew
	x.frames(30, true)
	x.mode(Inactive)
	x.frames(10, false)
	x.mode(SendRecv)
	x.agree(LatchOff) // the re-INVITE repeats the address
	x.frames(30, true)
	// Both peers begin anew without notice: other sources, other numbers.
	x.up.ssrc, x.up.seq, x.down.ssrc, x.down.seq = 0xb0b, 40000, 0xc0c, 50000
	x.frames(30, true)
	x.agree(Relatch)
	x.last[coreEnd] = nil // until it is heard, what is sent goes to the address that was signalled
	x.frames(5, false)
	x.frames(30, true)
	x.frames(10, false)
}

// heard is everything that a peer got, with numbers and time from the first on: byte by byte.
func (x *codedCall) heard(end int) (out []string) {
	for _, p := range x.all[end] {
		first := x.all[end][0]
		out = append(out, fmt.Sprintf("at %v pt %d mark %v number %d time %d: %x", time.Duration(p.at), p.PT(), p.Marker(), p.Seq()-first.Seq(), p.TS()-first.TS(), p.Payload()))
	}
	return out
}

// figures are those that strangers could move.
func (x *codedCall) figures() (out []string) {
	for _, term := range []*term{x.a, x.c} {
		s := term.stats()
		out = append(out, fmt.Sprintf("received %d lost %d jitter %v concealed %d recovered %d late %d sent %d made %d codec %s path %v loss %d pair %q",
			s.PacketsReceived, s.PacketsLost, s.Jitter, s.FramesConcealed, s.FramesRecovered, s.PacketsLate, s.PacketsSent, term.to.made, s.CodecReceived, s.Path,
			s.RemoteLossPermille, map[bool]netip.AddrPort{true: x.a.access.selected}[term == x.a].Addr()))
	}
	for _, e := range x.ev {
		out = append(out, fmt.Sprintf("event %d of %s", e.Kind, e.Endpoint.ID()))
	}
	return out
}

// TestInjectionIntoTranscodedCall: behind the gate of a transcoded call stand a jitter buffer and what makes sense of new sources and numbers. With
// strangers that send first, each 20 ms and more than the peers, in every phase of the call, both peers hear byte for byte and at the same times what
// they hear without them, and no figure or event of the call differs.
func TestInjectionIntoTranscodedCall(t *testing.T) {
	// G.711 to G.711 is there in every build.
	for _, c := range []codec.Codec{opus, pcmu} {
		for _, suite := range []string{"", "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80"} {
			if !transcode.Supported(c) {
				continue
			}
			name := suite
			if suite == "" {
				name = "RTP"
			}
			t.Run(fmt.Sprintf("%s and %s", c.Name, name), func(t *testing.T) {
				quiet, loud := newCodedCall(t, c, suite, false), newCodedCall(t, c, suite, true)
				quiet.run()
				loud.run()
				for end, who := range []string{"browser", "core"} {
					a, b := quiet.heard(end), loud.heard(end)
					if len(a) < 150 {
						t.Fatalf("the %s hears %d packets", who, len(a))
					}
					if at := slices.Compare(a, b); at != 0 {
						for n := range min(len(a), len(b)) {
							if a[n] != b[n] {
								t.Fatalf("the %s hears otherwise from packet %d of %d and %d on:\n%s\n%s", who, n, len(a), len(b), a[n], b[n])
							}
						}
						t.Fatalf("the %s hears %d packets, without strangers %d", who, len(b), len(a))
					}
				}
				if a, b := quiet.figures(), loud.figures(); !slices.Equal(a, b) {
					t.Errorf("without strangers:\n%s\nwith:\n%s", a, b)
				}
				if d := loud.c.in.drops; d[gate.Source] < 500 || loud.a.in.drops[gate.Replay] != 150 {
					t.Errorf("the strangers' packets were not refused where they should be: %v, %v", d.Map(), loud.a.in.drops.Map())
				}
			})
		}
	}
}
