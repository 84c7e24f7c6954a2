package app

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	pionice "github.com/pion/ice/v4"

	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// fullOffer is the transaction of a call whose agent the realm decides.
func (b *browser) fullOffer(id string, role iqv1.TransportGroup_IceRole) *iqv1.TransactionRequest {
	b.t.Helper()
	req := b.offer(id)
	d := req.Actions[0].Commands[0].GetAdd().GetDescriptor_()
	d.Transport.IceMode, d.Transport.IceRole = iqv1.TransportGroup_ICE_MODE_CHOOSE, role
	d.Events.Specs = append(d.Events.Specs, &iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_ICE_PEER_REFLEXIVE})
	return req
}

// tell orders checks of the browser's candidates by a Modify.
func (b *browser) tell(id, context, termination string) *iqv1.TransactionRequest {
	b.t.Helper()
	cs, err := b.agent.GetLocalCandidates()
	if err != nil {
		b.t.Fatal(err)
	}
	ufrag, pwd, err := b.agent.GetLocalUserCredentials()
	if err != nil {
		b.t.Fatal(err)
	}
	ice := &iqv1.IceParameters{Ufrag: ufrag, Pwd: pwd, EndOfCandidates: true}
	for _, c := range cs {
		ice.Candidates = append(ice.Candidates, &iqv1.Candidate{
			Foundation: c.Foundation(), Component: 1, Transport: "udp", Priority: c.Priority(), Address: c.Address(), Port: uint32(c.Port()), Type: "host",
		})
	}
	return onContext(id, context, &iqv1.Command{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: termination}},
		Descriptor_: &iqv1.TerminationDescriptor{Transport: &iqv1.TransportGroup{RemoteIce: ice}},
	}}})
}

// TestIQ24_IQ26_FullICEOverIq: a realm with full ICE says so in the capabilities and in the reply to Add. A lite peer, which never checks, is connected to
// once its candidates are told by a Modify; a full peer whose candidates are not told is notified as peer-reflexive and then connected to.
func TestIQ24_IQ26_FullICEOverIq(t *testing.T) {
	c := startController(t)
	g := startGateway(t, c, "--realms.access.0.ice=full")
	caps, err := g.iq.AuditCapabilities(t.Context(), &iqv1.AuditCapabilitiesRequest{})
	if err != nil || len(caps.IceModes) != 2 || caps.IceModes[1] != "full" || caps.Realms[0].IceMode != iqv1.TransportGroup_ICE_MODE_FULL {
		t.Errorf("capabilities: %v, %v", caps, err)
	}
	lite := newBrowser(t, pionice.WithICELite(true))
	lite.accept = true
	call := g.transact(lite.fullOffer("t-1", iqv1.TransportGroup_ICE_ROLE_CONTROLLING)).Actions[0]
	if call.Error != nil {
		t.Fatal(call.Error)
	}
	tr := call.Commands[0].Resolved.Transport
	if tr.IceLite || tr.IceMode != iqv1.TransportGroup_ICE_MODE_FULL || tr.IceRole != iqv1.TransportGroup_ICE_ROLE_CONTROLLING {
		t.Errorf("resolved: %v", tr)
	}
	if rep := g.transact(lite.tell("t-2", call.ContextId, call.Commands[0].TerminationId)).Actions[0]; rep.Error != nil || rep.Commands[0].Resolved != nil {
		t.Fatalf("a further candidate: %v", rep)
	}
	if err := lite.connect(tr); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "ICE and DTLS", func() bool { return story(c.events()) == "ICE_RESULTconnected DTLS_STATEconnected" })
	g.transact(onContext("t-3", call.ContextId, subtractAll()))

	full := newBrowser(t)
	call = g.transact(full.fullOffer("t-4", iqv1.TransportGroup_ICE_ROLE_CONTROLLED)).Actions[0]
	if call.Error != nil {
		t.Fatal(call.Error)
	}
	if err := full.connect(call.Commands[0].Resolved.Transport); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "ICE and DTLS", func() bool {
		return strings.HasSuffix(story(c.events()), " ICE_PEER_REFLEXIVE ICE_RESULTconnected DTLS_STATEconnected")
	})
	found, pair := c.events()[2].Events[0], c.events()[3].Events[0]
	if found.Remote.GetType() != "prflx" || found.Remote.GetPort() != pair.Remote.GetPort() || found.Local.GetPort() != pair.Local.GetPort() {
		t.Errorf("found %v, selected %v", found, pair)
	}
	g.transact(onContext("t-5", call.ContextId, subtractAll()))
}

// TestR8858_RTCPApartOverIq: a realm with ports for component 2 says so, and gives a termination without mux candidates of both; another one refuses it.
func TestR8858_RTCPApartOverIq(t *testing.T) {
	c := startController(t)
	low, high := freeports.UDPPairs(t, 1) // of two workers
	g := startGateway(t, c, fmt.Sprintf("--realms.access.0.rtcp_port=%d", low))
	caps, err := g.iq.AuditCapabilities(t.Context(), &iqv1.AuditCapabilitiesRequest{})
	if err != nil || !slices.Contains(caps.Features, "rtcp-component") {
		t.Errorf("capabilities: %v, %v", caps, err)
	}
	req := setUp("t-1")
	d := req.Actions[0].Commands[0].GetAdd().GetDescriptor_()
	d.Streams[0].LocalControl.Rtcp = &iqv1.RtcpPolicy{}
	d.Streams[0].Remote, d.Transport.RemoteIce, d.Transport.RemoteDtls = nil, nil, nil
	call := g.transact(req).Actions[0]
	if call.Error != nil {
		t.Fatal(call.Error)
	}
	cs := call.Commands[0].Resolved.Transport.LocalIce.Candidates
	if len(cs) != 2 || cs[0].Component != 1 || cs[1].Component != 2 || cs[1].Port < uint32(low) || cs[1].Port > uint32(high) {
		t.Errorf("candidates %v", cs)
	}
	// It is to multiplex and to have a second m= line, which is known before anything is of the peer.
	streams := []*iqv1.Stream{{StreamId: 1, LocalControl: &iqv1.LocalControl{Rtcp: &iqv1.RtcpPolicy{Mux: true}}}, {StreamId: 2, Local: &iqv1.MediaDescription{Codecs: codecs("PCMA")}}}
	ref := &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: call.Commands[0].TerminationId}}
	two := &iqv1.Command{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{Termination: ref, Descriptor_: &iqv1.TerminationDescriptor{Streams: streams}}}}
	if a := g.transact(onContext("t-2", call.ContextId, two)).Actions[0]; a.Error != nil || a.Commands[0].Resolved.Streams[0].Local.GetSsrc() == 0 {
		t.Errorf("multiplexed, with a second stream: %v", a)
	}
	g.transact(onContext("t-3", call.ContextId, subtractAll()))

	g = startGateway(t, startController(t))
	req = setUp("t-4")
	req.Actions[0].Commands[0].GetAdd().GetDescriptor_().Streams[0].LocalControl.Rtcp = &iqv1.RtcpPolicy{}
	if e := g.transact(req).Actions[0].Error; e.GetCode() != 449 || !strings.Contains(e.GetText(), "mux") {
		t.Errorf("without such ports: %v", e)
	}
}
