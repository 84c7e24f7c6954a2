package app

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/call"
	"github.com/isthmus-gateway/isthmus/mgc/internal/mgwpool"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestSignalsNeedTheCapability: signals for a media gateway that would ignore them are refused here, so that an INFO with a digit is not answered as if
// the digit had been played: 501 with a reason. Everything else goes to it, stopping of signals among that.
func TestSignalsNeedTheCapability(t *testing.T) {
	s := store.NewMemory()
	defer s.Close()
	pool, err := mgwpool.New(t.Context(), mgwpool.Config{Instance: "m1"}, s)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	reply, err := pool.ServiceChange(t.Context(), &iqv1.ServiceChangeRequest{MgwId: "old", BootId: "1", Method: iqv1.ServiceChangeRequest_METHOD_RESTART, Address: "127.0.0.1:1",
		Capabilities: &iqv1.Capabilities{ProfileVersion: 1, Realms: []*iqv1.Realm{{Name: "access", Kind: iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS}}}})
	if err != nil || reply.GetError() != nil {
		t.Fatal(reply, err)
	}
	modify := func(sig *iqv1.SignalsDescriptor) *iqv1.TransactionRequest {
		return &iqv1.TransactionRequest{TransactionId: "t1", Actions: []*iqv1.Action{{Commands: []*iqv1.Command{
			{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{Descriptor_: &iqv1.TerminationDescriptor{Signals: sig}}}}}}}}
	}
	digit := modify(&iqv1.SignalsDescriptor{Signals: []*iqv1.Signal{{Name: "dg/d5"}}})
	g := &gateways{pool: pool} // without a link: what is refused does not get there
	_, err = g.Transact(t.Context(), call.Node{MGW: "old", Boot: "1"}, digit)
	if gwerr.CodeOf(err) != gwerr.NotImplemented || gwerr.CodeOf(err).SIP() != 501 {
		t.Errorf("%v", err)
	}
	if name := missing([]string{"sdes", "signals"}, digit); name != "" {
		t.Errorf("%s is missing", name)
	}
	// So are packets with an MKI, which an older one would take for forged.
	for _, mki := range [][]byte{nil, {0, 0, 0, 1}} {
		keyed := &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{Remote: &iqv1.MediaDescription{Cryptos: []*iqv1.SrtpCrypto{{Mki: mki}}}}}}
		for _, c := range []*iqv1.Command{{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{Descriptor_: keyed}}}, {Cmd: &iqv1.Command_Add{Add: &iqv1.Add{Descriptor_: keyed}}}} {
			req := &iqv1.TransactionRequest{Actions: []*iqv1.Action{{Commands: []*iqv1.Command{c}}}}
			if name := missing([]string{"sdes", "signals"}, req); (name == "sdes-mki") != (mki != nil) {
				t.Errorf("MKI %x: %q is missing", mki, name)
			}
			if name := missing([]string{"sdes", "sdes-mki"}, req); name != "" {
				t.Errorf("MKI %x: %q is missing", mki, name)
			}
		}
	}
	for _, sig := range []*iqv1.SignalsDescriptor{nil, {}} {
		if name := missing(nil, modify(sig)); name != "" {
			t.Errorf("%v: %s is missing", sig, name)
		}
	}
}
