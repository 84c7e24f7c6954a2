package browser

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestBrowserToSecureBaresip has bob speak SRTP with keys in SDP: opportunistic with G.711 relayed, and required with Opus transcoded. In
// the first mode carol has plain RTP only. Who hears whom tells that both ends have the right keys: with a wrong one there is silence.
func TestBrowserToSecureBaresip(t *testing.T) {
	w := newWorld(t)
	if err := w.bob.Close(); err != nil { // he gets others, and his registration would be beside theirs
		t.Fatal(err)
	}
	for n, mode := range []string{"osrtp", "required"} {
		t.Run(mode, func(t *testing.T) {
			w.bob = w.agent(t, "bob", "builder", 3+n, bobHz, map[string]string{"osrtp": "srtp", "required": "srtp-mand"}[mode])
			g := w.startGateway(t, mode)
			run := []scene{
				{"R8643_R4568_BrowserCallsBothHear", secured(browserCalls)},
				{"R8643_R4568_BaresipCallsBothHear", secured(baresipCalls)},
				{"IQ14_HoldAndResumeByBaresip", secured(holdByBaresip)},
			}
			if mode == "osrtp" {
				run = append(run, scene{"R8643_PlainPeer", plainPeer})
			} else {
				run = append(run, scene{"IQ14_HoldAndResumeByBrowser", secured(holdByBrowser)}, scene{"R4568_PlainPeerIsRefused", plainPeerRefused})
			}
			for _, s := range run {
				t.Run(s.name, func(t *testing.T) { g.play(t, s.run) })
			}
			t.Run("R4568_KeysAreNotLogged", w.keysNotLogged)
			t.Run("NothingIsLeft", g.nothingLeft)
		})
	}
}

// secured plays a scenario and checks that every description on the core's side had keys, and that the MGW had them in use.
func secured(play func(*party)) func(*party) {
	return func(p *party) {
		n := len(p.wire(0))
		play(p)
		seen := 0
		for _, m := range p.wire(n) {
			if m.Header("Content-Type") != "application/sdp" || m.Body() == "" {
				continue
			}
			seen++
			proto := map[string]string{"osrtp": " RTP/AVP ", "required": " RTP/SAVP "}[p.mode]
			if !strings.Contains(m.Body(), "a=crypto:") || !strings.Contains(m.Body(), proto) {
				p.t.Errorf("%s from %s:\n%s", m.StartLine(), m.From, m.Body())
			}
		}
		if seen < 4 { // offer and answer, each before and behind Kamailio
			p.t.Errorf("%d descriptions were seen", seen)
		}
	}
}

// remoteKeys are the suites whose key of the peer is in use at the MGW's core terminations.
func (p *party) remoteKeys() (suites []string) {
	p.t.Helper()
	stream, err := p.mgw.AuditValue(p.ctx, &iqv1.AuditRequest{
		Context:     &iqv1.ContextRef{Ref: &iqv1.ContextRef_All{All: &emptypb.Empty{}}},
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}},
	})
	p.ok(err)
	for {
		r, err := stream.Recv()
		if err != nil {
			return suites
		}
		for _, s := range r.GetDescriptor_().GetStreams() {
			for _, c := range append(s.GetRemote().GetCryptos(), s.GetLocal().GetCryptos()...) {
				if len(c.GetKey()) > 0 {
					p.t.Error("an audit shows a key")
				}
			}
			for _, c := range s.GetRemote().GetCryptos() {
				suites = append(suites, c.GetSuite())
			}
		}
	}
}

// plainPeer: carol answers without a key and gets RTP.
func plainPeer(p *party) {
	mark := p.carol.Mark()
	id := p.dial("carol")
	p.told(p.carol, mark, "CALL_INCOMING")
	p.tell(p.carol, "accept", "")
	p.told(p.carol, mark, "CALL_ESTABLISHED")
	p.both(id, p.carol, carolHz)
	if got := p.remoteKeys(); len(got) != 0 {
		p.t.Errorf("keys for plain RTP: %v", got)
	}
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
	id = p.talk() // and beside it bob with keys
	if got := p.remoteKeys(); len(got) != 1 {
		p.t.Errorf("bob's keys: %v", got)
	}
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
}

// plainPeerRefused: carol has no SRTP, neither called nor calling.
func plainPeerRefused(p *party) {
	id := p.dial("carol")
	p.inState(id, "ended")
	n, mark := len(p.wire(0)), p.carol.Mark()
	p.tell(p.carol, "dial", "sip:alice@"+domain)
	p.told(p.carol, mark, "CALL_CLOSED")
	for _, m := range p.wire(n) {
		if strings.HasPrefix(m.StartLine(), "SIP/2.0 488") && strings.Contains(m.Header("Warning"), "SRTP is required") {
			return
		}
	}
	p.t.Error("no 488 with a Warning that says why")
}

var inlineKey = regexp.MustCompile(`inline:([A-Za-z0-9+/]{38,})`)

// keysNotLogged searches what the daemons printed for every key that was on the wire.
func (w *world) keysNotLogged(t *testing.T) {
	all, err := w.core.Tap().Messages()
	if err != nil {
		t.Fatal(err)
	}
	log := w.log.String()
	keys := map[string]bool{}
	for _, m := range all {
		for _, k := range inlineKey.FindAllStringSubmatch(m.Body(), -1) {
			keys[k[1]] = true
		}
	}
	for k := range keys {
		if strings.Contains(log, k) {
			t.Errorf("a key is in the log: %.6s...", k)
		}
	}
	if len(keys) < 5 || log == "" {
		t.Error(fmt.Sprint(len(keys), " keys, ", len(log), " octets of log"))
	}
}
