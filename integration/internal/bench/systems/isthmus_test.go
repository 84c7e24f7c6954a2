package systems

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func TestTransactionKnowsBothPeers(t *testing.T) {
	for media, codec := range map[load.Media][2]string{load.PCMA: {"PCMA", "PCMA"}, load.OpusPCMA: {"opus", "PCMA"}, load.OpusAMRWB: {"opus", "AMR-WB"}} {
		o := someOffer(media)
		act := setUp(o).GetActions()[0]
		access, core := act.GetCommands()[0].GetAdd().GetDescriptor_(), act.GetCommands()[1].GetAdd().GetDescriptor_()
		if tr := access.GetTransport(); tr.GetRemoteIce().GetUfrag() != o.Ufrag || tr.GetRemoteDtls().GetFingerprints()[0].GetValue() != o.Fingerprint ||
			access.GetStreams()[0].GetLocal().GetCodecs()[0].GetName() != codec[0] {
			t.Errorf("access: %v", access)
		}
		if r := core.GetStreams()[0].GetRemote(); r.GetPort() != 40002 || r.GetAddress() != "127.0.0.1" || r.GetCodecs()[0].GetName() != codec[1] {
			t.Errorf("core: %v", core)
		}
	}
}

func TestIncompleteRepliesAreRefused(t *testing.T) {
	full := func() (*iqv1.TransportGroup, []*iqv1.Stream) {
		return &iqv1.TransportGroup{
			LocalIce:  &iqv1.IceParameters{Ufrag: "u", Pwd: "p", Candidates: []*iqv1.Candidate{{Address: "127.0.0.1", Port: 7430}}},
			LocalDtls: &iqv1.DtlsParameters{Role: iqv1.DtlsParameters_ROLE_SERVER, Fingerprints: []*iqv1.Fingerprint{{Hash: "sha-256", Value: "AB"}}},
		}, []*iqv1.Stream{{Local: &iqv1.MediaDescription{Address: "127.0.0.1", Port: 20000}}}
	}
	tr, core := full()
	if a, err := answerOf(tr, core); err != nil || a.Client || a.Access.Port() != 7430 || a.Core.Port() != 20000 || a.Fingerprint != "AB" {
		t.Errorf("%+v, %v", a, err)
	}
	for name, spoil := range map[string]func(*iqv1.TransportGroup, []*iqv1.Stream){
		"no candidate":      func(tr *iqv1.TransportGroup, _ []*iqv1.Stream) { tr.LocalIce.Candidates = nil },
		"no fingerprint":    func(tr *iqv1.TransportGroup, _ []*iqv1.Stream) { tr.LocalDtls.Fingerprints = nil },
		"a name as address": func(tr *iqv1.TransportGroup, _ []*iqv1.Stream) { tr.LocalIce.Candidates[0].Address = "x.local" },
		"no core port":      func(_ *iqv1.TransportGroup, c []*iqv1.Stream) { c[0].Local.Port = 0 },
	} {
		tr, core := full()
		spoil(tr, core)
		if a, err := answerOf(tr, core); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
