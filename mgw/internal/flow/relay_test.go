package flow

import (
	"bytes"
	"testing"

	piondtls "github.com/pion/dtls/v3"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

func newTestPool() *bufpool.Pool { return &bufpool.Pool{} }

// call is a connected pair of terminations with both peers, media allowed both ways.
type call struct {
	*bed
	a *Access
	c *Core
	b *browser
	s *sip
}

type callSpec struct {
	role     Role // ours
	access   Settings
	core     Settings
	profiles []piondtls.SRTPProtectionProfile
	config   func(*Config)
}

func both(mode Mode, recv []codec.Codec, send, dtmf codec.Codec) Settings {
	return Settings{Mode: mode, Recv: recv, Send: send, SendDTMF: dtmf}
}

func relaySpec() callSpec {
	s := both(SendRecv, []codec.Codec{pcma, evBrow}, pcma, evBrow)
	c := both(SendRecv, []codec.Codec{pcma, ev8}, pcma, ev8)
	return callSpec{role: RoleServer, access: s, core: c}
}

// joinCore gives the access side x.a a core side, both with their settings, and the core side its peer.
func (x *call) joinCore(t *testing.T, id string, spec callSpec) {
	t.Helper()
	x.c = x.bed.core(id, x.a)
	x.configure(x.a, spec.access)
	x.configure(x.c, spec.core)
	if err := x.e.Connect(x.a, x.c); err != nil {
		t.Fatal(err)
	}
	x.s = newSIP(t)
	if err := x.c.SetRemote(CoreRemote{RTP: x.s.addr(), RTCP: addrPortOf(x.s.rtcp)}); err != nil {
		t.Fatal(err)
	}
}

func newCall(t *testing.T, spec callSpec) *call {
	t.Helper()
	x := &call{bed: newBed(t, spec.config)}
	x.a = x.bed.access("a1")
	x.joinCore(t, "c1", spec)
	x.b = newBrowser(t)
	if spec.profiles != nil {
		x.b.profiles = spec.profiles
	}
	if err := x.a.SetRemote(x.b.remote(spec.role)); err != nil {
		t.Fatal(err)
	}
	x.b.connect(x.a.Local())
	if err := x.b.secure(x.a.Local(), spec.role == RoleServer); err != nil {
		t.Fatal("browser DTLS: ", err)
	}
	x.ev.wait(t, x.a, DTLSConnected, 1)
	return x
}

// exchange sends n packets each way and checks content, SSRC and continuity.
func (x *call) exchange(n int, seq uint16) {
	x.t.Helper()
	var last uint16
	for i := range n {
		body := bytes.Repeat([]byte{byte(i + 1)}, 160)
		x.b.send(packet(8, 0xbb, seq+uint16(i), uint32(seq)*160+uint32(i)*160, body))
		p := x.s.read()
		if !bytes.Equal(p.Payload(), body) || p.PT() != 8 || p.SSRC() != x.c.Local().SSRC {
			x.t.Fatalf("to core: pt %d ssrc %x, %d bytes", p.PT(), p.SSRC(), len(p.Payload()))
		}
		if i > 0 && p.Seq() != last+1 {
			x.t.Fatalf("to core: sequence %d after %d", p.Seq(), last)
		}
		last = p.Seq()
	}
	for i := range n {
		body := bytes.Repeat([]byte{byte(i + 101)}, 160)
		x.s.send(x.c.Local().RTP, packet(8, 0xcc, seq+uint16(i), uint32(seq)*160+uint32(i)*160, body))
		p := x.b.read()
		if !bytes.Equal(p.Payload(), body) || p.PT() != 8 || p.SSRC() != x.a.Local().SSRC {
			x.t.Fatalf("to browser: pt %d ssrc %x, %d bytes", p.PT(), p.SSRC(), len(p.Payload()))
		}
		if i > 0 && p.Seq() != last+1 {
			x.t.Fatalf("to browser: sequence %d after %d", p.Seq(), last)
		}
		last = p.Seq()
	}
}

func TestRelayBothRolesAndProfiles(t *testing.T) {
	gcm := []piondtls.SRTPProtectionProfile{piondtls.SRTP_AES128_CM_HMAC_SHA1_80, piondtls.SRTP_AEAD_AES_128_GCM}
	cm := []piondtls.SRTPProtectionProfile{piondtls.SRTP_AES128_CM_HMAC_SHA1_80}
	for name, c := range map[string]struct {
		role     Role
		profiles []piondtls.SRTPProtectionProfile
		want     srtp.Profile
	}{
		"server, both offered": {RoleServer, gcm, srtp.AES128GCM},
		"client, both offered": {RoleClient, nil, srtp.AES128GCM},
		"server, only CM":      {RoleServer, cm, srtp.AES128CMSHA1_80},
		"client, only CM":      {RoleClient, cm, srtp.AES128CMSHA1_80},
	} {
		t.Run(name, func(t *testing.T) {
			spec := relaySpec()
			spec.role, spec.profiles = c.role, c.profiles
			x := newCall(t, spec)
			if e := x.ev.wait(t, x.a, DTLSConnected, 1); e.Profile != c.want.String() {
				t.Errorf("profile %s, want %s", e.Profile, c.want)
			}
			x.exchange(20, 65530)
			for _, ep := range []Endpoint{x.a, x.c} {
				x.ev.wait(t, ep, MediaStarted, 1)
				if s := ep.Stats(); s.PacketsReceived != 20 || s.PacketsSent != 20 || s.OctetsSent != 3200 || s.PacketsLost != 0 ||
					s.Dropped != nil || s.Transcoding || s.CodecReceived != "PCMA/8000" || s.CodecSent != "PCMA/8000" {
					t.Errorf("%s: %+v", ep.ID(), s)
				}
			}
			final := x.a.Close()
			if again := x.a.Close(); again.PacketsSent != final.PacketsSent || final.PacketsSent != 20 {
				t.Errorf("close: %+v, again %+v", final, again)
			}
			if e, ok := x.ev.find(x.a, ICEConnected, 1); !ok || e.Pair.Remote.Type != "prflx" || e.Pair.Remote.Address != "127.0.0.1" {
				t.Errorf("pair %+v", e.Pair)
			}
		})
	}
}
