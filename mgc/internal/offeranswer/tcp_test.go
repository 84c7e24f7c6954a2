package offeranswer

import (
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestR6544_4_5_PassiveCandidateIsTold: a TCP candidate of the MGW stands in our descriptions with its tcptype, after the UDP one, which stays the
// default of the m= line; one without a type, or of another transport, is left out. The MGW is told the same again.
func TestR6544_4_5_PassiveCandidateIsTold(t *testing.T) {
	s := call(t, PreferRelay, "browser offers jssip_offer", "phone answers 8,101")
	ice := &iqv1.IceParameters{Ufrag: "mGw9", Pwd: "k3v0Qe9m2Jx7Zt5Wb8Rr0009"}
	for _, c := range []*iqv1.Candidate{
		{Foundation: "1", Transport: "udp", Priority: 2130706431, Port: 40000},
		{Foundation: "2", Transport: "tcp", Priority: 1518280447, Port: 443, TcpType: "passive"},
		{Foundation: "3", Transport: "tcp", Priority: 1, Port: 444},
		{Foundation: "4", Transport: "sctp", Priority: 1, Port: 445},
	} {
		c.Component, c.Address, c.Type = 1, "198.51.100.10", "host"
		ice.Candidates = append(ice.Candidates, c)
	}
	m, err := s.m.Resolve(Access, &iqv1.TerminationDescriptor{Transport: &iqv1.TransportGroup{LocalIce: ice}})
	if err != nil {
		t.Fatal(err)
	}
	m, body, err := m.MakeOffer(Access, sdp.DirUnset)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.DeleteFunc(strings.Split(string(body), "\r\n"), func(l string) bool { return !strings.HasPrefix(l, "a=candidate") && !strings.HasPrefix(l, "m=") })
	want := []string{
		"a=candidate:1 1 udp 2130706431 198.51.100.10 40000 typ host",
		"a=candidate:2 1 tcp 1518280447 198.51.100.10 443 typ host tcptype passive",
	}
	if !slices.Equal(lines[1:], want) || strings.Fields(lines[0])[1] == "443" {
		t.Errorf("told: %q", lines)
	}
	again := m.ModifyDescriptor(Access, Open).GetTransport().GetLocalIce().GetCandidates()
	if len(again) != 2 || again[1].GetTransport() != "tcp" || again[1].GetTcpType() != "passive" {
		t.Errorf("the MGW is told %v", again)
	}
}
