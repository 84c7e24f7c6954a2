package offeranswer

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

var update = flag.Bool("update", false, "write the golden files anew; review the difference")

const (
	print32 = "D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F"

	chrome = `v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=extmap-allow-mixed
a=msid-semantic: WMS 5f6c2b1e
m=audio 52341 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 203.0.113.50
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1467250027 1 udp 2122260223 7c1f3a52-1d7e-4a53-9a53-7c1f3a521d7e.local 52341 typ host generation 0 network-id 1
a=candidate:2887012345 1 udp 1686052607 203.0.113.50 52341 typ srflx raddr 0.0.0.0 rport 0 generation 0 network-id 1
a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
a=ice-options:trickle
a=fingerprint:sha-256 ` + print32 + `
a=setup:%s
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendrecv
a=msid:5f6c2b1e 9d4611fa
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
a=ssrc:2607947206 cname:z8aoN2lL7oiSqrJ
a=ssrc:2607947206 msid:5f6c2b1e 9d4611fa
`
	// firefox keeps ICE options and fingerprint at session level and lists rtcp-mux before the formats.
	firefox = `v=0
o=mozilla...THIS_IS_SDPARTA-99.0 7340122384756983247 0 IN IP4 0.0.0.0
s=-
t=0 0
a=fingerprint:sha-256 ` + print32 + `
a=group:BUNDLE 0
a=ice-options:trickle
a=msid-semantic:WMS *
m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101
c=IN IP4 0.0.0.0
a=sendrecv
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level
a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1
a=fmtp:101 0-15
a=ice-pwd:2c7ab5b7d7a0b5b0a3a7b4b8c9d0e1f2
a=ice-ufrag:8f2d4c1a
a=mid:0
a=msid:{8e3f} {1c2d}
a=rtcp-mux
a=rtpmap:109 opus/48000/2
a=rtpmap:9 G722/8000/1
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000/1
a=setup:%s
a=ssrc:3735928559 cname:{a1b2}
`
	coreSDP = `v=0
o=- 1 1 IN IP4 10.0.0.7
s=-
c=IN IP4 10.0.0.7
t=0 0
m=audio 4000 RTP/AVP %s
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=sendrecv
`
)

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

func parse(t *testing.T, text string) *sdp.Description {
	t.Helper()
	d, err := sdp.Parse(crlf(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// chosen is what an MGW answers to the Adds.
func chosen(side Side) *iqv1.TerminationDescriptor {
	d := &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: 1, Local: &iqv1.MediaDescription{Address: "10.20.0.11", Port: 30000, RtcpPort: 30001, Ssrc: 1122334455, Cname: "mgw"}}}}
	if side == Access {
		d.Transport = &iqv1.TransportGroup{
			LocalIce: &iqv1.IceParameters{Ufrag: "mGw1", Pwd: "k3v0Qe9m2Jx7Zt5Wb8Rr4Yp6", Candidates: []*iqv1.Candidate{{
				Foundation: "1", Component: 1, Transport: "udp", Priority: 2130706431, Address: "198.51.100.10", Port: 40000, Type: "host"}}},
			LocalDtls: &iqv1.DtlsParameters{Fingerprints: []*iqv1.Fingerprint{{Hash: "sha-256", Value: print32}}},
		}
	}
	return d
}

// trace writes what happens in a golden file.
type trace struct {
	t *testing.T
	b bytes.Buffer
}

func (w *trace) sdp(what string, body []byte) {
	fmt.Fprintf(&w.b, "== %s\n%s\n", what, strings.ReplaceAll(string(body), "\r\n", "\n"))
}

func (w *trace) command(what string, m proto.Message) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil { // protojson varies its white space on purpose
		w.t.Fatal(err)
	}
	out, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		w.t.Fatal(err)
	}
	fmt.Fprintf(&w.b, "== %s\n%s\n\n", what, out)
}

func (w *trace) compare(name string) {
	w.t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, w.b.Bytes(), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if !bytes.Equal(want, w.b.Bytes()) {
		w.t.Errorf("differs from %s (-update writes it):\n%s", file, w.b.String())
	}
}

// coreAttributes are all that may be said to the core (standards ARC-03, ARC-04).
var coreAttributes = []string{"rtpmap", "fmtp", "ptime", "maxptime", "sendrecv", "sendonly", "recvonly", "inactive", "rtcp"}

func checkCore(t *testing.T, body []byte, srtp SRTP) {
	t.Helper()
	for line := range strings.SplitSeq(string(body), "\r\n") {
		if a, ok := strings.CutPrefix(line, "a="); ok {
			name, _, _ := strings.Cut(a, ":")
			if !slices.Contains(coreAttributes, name) && !(srtp.on() && name == "crypto") {
				t.Errorf("a=%s crosses to the core", a)
			}
		}
		if strings.HasPrefix(line, "m=") && !strings.Contains(line, " RTP/AVP ") && !strings.Contains(line, " 0 ") && !(srtp.on() && strings.Contains(line, " RTP/SAVP ")) { // a rejected line repeats its own
			t.Errorf("%q is said to the core", line)
		}
	}
}

func TestARC03_ARC04_BrowserCalls(t *testing.T) {
	for name, offer := range map[string]string{"chrome": chrome, "firefox": firefox} {
		for _, prefer := range []Preference{PreferRelay, PreferOpus} {
			t.Run(name+"_"+string(prefer), func(t *testing.T) {
				w := &trace{t: t}
				p := DefaultPolicy()
				p.Prefer = prefer
				m := New(p, 1, 2, "")
				m, _, err := m.Offer(Access, parse(t, fmt.Sprintf(offer, "actpass")))
				if err != nil {
					t.Fatal(err)
				}
				w.command("add access", m.AddDescriptor(Access, "access", Closed))
				w.command("add core", m.AddDescriptor(Core, "core", Closed))
				for _, s := range []Side{Access, Core} {
					if m, err = m.Resolve(s, chosen(s)); err != nil {
						t.Fatal(err)
					}
				}
				m, body, err := m.MakeOffer(Core, sdp.DirUnset)
				if err != nil {
					t.Fatal(err)
				}
				checkCore(t, body, SRTPOff)
				w.sdp("offer to the core", body)
				if m, err = m.Answer(Core, parse(t, fmt.Sprintf(coreSDP, "8 101"))); err != nil {
					t.Fatal(err)
				}
				m, body, err = m.MakeAnswer(Access)
				if err != nil {
					t.Fatal(err)
				}
				w.sdp("answer to the browser", body)
				w.command("modify access", m.ModifyDescriptor(Access, Open))
				w.command("modify core", m.ModifyDescriptor(Core, Open))
				w.compare("browser_calls_" + name + "_" + string(prefer))
			})
		}
	}
}

func TestARC03_ARC04_CoreCalls(t *testing.T) {
	for name, answer := range map[string]string{"chrome": chrome, "firefox": firefox} {
		t.Run(name, func(t *testing.T) {
			w := &trace{t: t}
			m := New(DefaultPolicy(), 1, 2, "")
			m, _, err := m.Offer(Core, parse(t, fmt.Sprintf(coreSDP, "8 101")))
			if err != nil {
				t.Fatal(err)
			}
			w.command("add access", m.AddDescriptor(Access, "access", Closed))
			w.command("add core", m.AddDescriptor(Core, "core", Closed))
			for _, s := range []Side{Access, Core} {
				if m, err = m.Resolve(s, chosen(s)); err != nil {
					t.Fatal(err)
				}
			}
			m, body, err := m.MakeOffer(Access, sdp.DirUnset)
			if err != nil {
				t.Fatal(err)
			}
			w.sdp("offer to the browser", body)
			if !strings.Contains(string(body), "a=setup:actpass") {
				t.Error("an offer must be actpass (RFC 8842 §5.2)")
			}
			if m, err = m.Answer(Access, parse(t, fmt.Sprintf(answer, "active"))); err != nil {
				t.Fatal(err)
			}
			m, body, err = m.MakeAnswer(Core)
			if err != nil {
				t.Fatal(err)
			}
			checkCore(t, body, SRTPOff)
			w.sdp("answer to the core", body)
			w.command("modify access", m.ModifyDescriptor(Access, Open))
			w.command("modify core", m.ModifyDescriptor(Core, Open))
			w.compare("core_calls_" + name)
		})
	}
}
