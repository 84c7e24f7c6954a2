package flow

import (
	"bytes"
	"testing"

	pionice "github.com/pion/ice/v4"

	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// TestInjectionMatrix: whoever is not the peer neither hears nor is heard, silences nobody and moves no address: in set-up, before the
// peer's first packet, in the call, on hold, after a re-INVITE that resumes, moves the peer or makes a new DTLS association; towards the
// access (DTLS-SRTP) and the core (RTP, SRTP with keys from signalling); with media, RTCP, checks and a ClientHello; with an SSRC of its
// own or the peer's and the sequence number that is due; and by repeating the peers' own packets before they come.
func TestInjectionMatrix(t *testing.T) {
	for _, suite := range []string{"", "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80"} {
		name := suite
		if suite == "" {
			name = "RTP"
		}
		t.Run(name, func(t *testing.T) {
			injectionMatrix(t, suite, pionice.NetworkTypeUDP4, newBed(t, nil), func(*intruder) {})
		})
	}
}

// injectionMatrix runs the phases of a call on bed, with a browser that knows one transport; arm gives the intruder more to do.
func injectionMatrix(t *testing.T, suite string, network pionice.NetworkType, bed *bed, arm func(*intruder)) {
	spec := relaySpec()
	x := &call{bed: bed}
	x.a = x.access("a1")
	x.c = x.core("c1", x.a)
	x.configure(x.a, spec.access)
	x.configure(x.c, spec.core)
	if err := x.e.Connect(x.a, x.c); err != nil {
		t.Fatal(err)
	}
	i := newIntruder(t, x)
	arm(i)
	i.seq = 65530
	i.secure = suite != ""
	known := suite
	if known == "" {
		known = srtp.Profiles[0].Suite()
	}
	i.evil = newPeerCrypto(t, x.c.Local(), known, 66)
	i.p = newPeerCrypto(t, x.c.Local(), known, 1)
	i.attack("in set-up, nothing agreed")

	x.s, x.b = newSIP(t), newBrowserOver(t, network)
	if i.secure {
		if err := x.c.SetRemote(CoreRemote{RTP: x.s.addr(), Secure: true}); err != nil {
			t.Fatal(err)
		}
		i.attack("offered with keys, not answered")
	}
	i.agree(LatchOff)
	if err := x.a.SetRemote(x.b.remote(spec.role)); err != nil {
		t.Fatal(err)
	}
	i.attack("agreed, nobody has come")
	x.b.connect(x.a.Local())
	x.ev.wait(t, x.a, ICEConnected, 1)
	i.attack("before DTLS")
	if err := x.b.secure(x.a.Local(), spec.role == RoleServer); err != nil {
		t.Fatal(err)
	}
	x.ev.wait(t, x.a, DTLSConnected, 1)
	i.attack("before the first packet")
	i.talk("first packets")
	i.attack("in the call")
	i.talk("in the call")

	i.mode(Inactive)
	i.attack("on hold")
	i.deaf("on hold")
	i.mode(SendRecv)
	i.agree(LatchOff) // the re-INVITE repeats the address
	i.attack("resumed")
	i.talk("resumed")

	former := x.s
	x.s = newSIP(t)
	i.agree(LatchOff)
	before := i.refused()
	former.send(x.c.Local().RTP, packet(8, 0xcc, i.seq+1, 1, bytes.Repeat([]byte{mark}, 160))) // a stranger now
	eventually(t, "the former address is refused", func() bool { return i.refused() == before+1 })
	i.attack("moved by a re-INVITE")
	i.talk("moved by a re-INVITE")

	next := newBrowserOver(t, network)
	next.print, next.cert, next.tx, next.rx = x.b.print, x.b.cert, x.b.tx, x.b.rx
	if err := x.a.SetRemote(next.remote(0)); err != nil {
		t.Fatal(err)
	}
	i.attack("while ICE restarts")
	i.talk("while ICE restarts")
	_ = x.b.agent.GracefulClose() // its checks would be counted as strangers'
	x.b = next
	x.b.connect(x.a.Local())
	x.ev.wait(t, x.a, ICEConnected, 2)
	eventually(t, "the old credentials are retired", func() bool { return x.a.sock.mux.Agents() == 1 })
	i.attack("on another pair")
	i.talk("on another pair")

	r := x.b.remote(spec.role)
	r.TLSID = "another"
	x.b.renew()
	if err := x.a.SetRemote(r); err != nil {
		t.Fatal(err)
	}
	i.attack("while DTLS begins anew")
	i.talk("while DTLS begins anew")
	if err := x.b.secure(x.a.Local(), spec.role == RoleServer); err != nil {
		t.Fatal(err)
	}
	x.ev.wait(t, x.a, DTLSConnected, 2)
	i.attack("with new keys")
	i.talk("with new keys")
	// Latching (H.248.37) believes keys, or who passes the filter, not the first that comes.
	i.agree(Relatch)
	i.attackLatching()
}
