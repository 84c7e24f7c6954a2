package admin

import (
	"errors"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/contexts"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBeyondLoopbackOnlyWhenAskedFor(t *testing.T) {
	if _, err := Listen("0.0.0.0:0", false, Source{}); !errors.Is(err, ErrExposed) {
		t.Errorf("every address: %v", err)
	}
	e, err := Listen("0.0.0.0:0", true, Source{})
	if err != nil {
		t.Fatalf("asked for: %v", err)
	}
	e.Close()
	e, err = Listen("127.0.0.1:0", false, Source{})
	if err != nil {
		t.Fatalf("loopback: %v", err)
	}
	e.Close()
}

func TestTerminationRow(t *testing.T) {
	stream := connmodel.Stream{ID: 1, Mode: connmodel.ModeRecvOnly}
	stream.Remote.Addr, stream.Remote.Port = netip.MustParseAddr("192.0.2.7"), 4000
	stream.Chosen.RTP = netip.MustParseAddrPort("127.0.0.1:20000")
	core := &connmodel.Termination{ID: "ip/core/1.2", Kind: connmodel.KindCore, Realm: "core", Streams: []connmodel.Stream{stream}}
	row := func(term *connmodel.Termination, st ...*iqv1.Statistics) *adminv1.Termination {
		return rows(contexts.TerminationSnapshot{Termination: term, Statistics: st})[0]
	}
	r := row(core, &iqv1.Statistics{StreamId: 1, PacketsLost: 3, CodecReceived: "PCMA/8000"})
	if r.Kind != "rtp-core" || r.StreamId != 1 || r.Mode != "recvonly" || r.LocalAddress != "127.0.0.1:20000" || r.RemoteAddress != "192.0.2.7:4000" ||
		r.PacketsLost != 3 || r.CodecReceived != "PCMA/8000" {
		t.Errorf("core: %v", r)
	}
	r = row(core, &iqv1.Statistics{StreamId: 1, SelectedPair: "127.0.0.1:20000 198.51.100.1:5"})
	if r.RemoteAddress != "198.51.100.1:5" {
		t.Errorf("latched: %v", r)
	}
	access := &connmodel.Termination{ID: "ip/access/1.1", Kind: connmodel.KindAccess, Streams: []connmodel.Stream{{ID: 1}}}
	access.Local.Candidates = []connmodel.Candidate{{Addr: netip.MustParseAddrPort("192.0.2.1:7430")}}
	if r := row(access); r.LocalAddress != "192.0.2.1:7430" || r.RemoteAddress != "" {
		t.Errorf("access: %v", r)
	}
}

// TestRowsOfStreams: each stream has its own address, mode and figures.
func TestRowsOfStreams(t *testing.T) {
	one, two := connmodel.Stream{ID: 1, Mode: connmodel.ModeSendRecv}, connmodel.Stream{ID: 2, Mode: connmodel.ModeInactive}
	one.Chosen.RTP, two.Chosen.RTP = netip.MustParseAddrPort("127.0.0.1:20000"), netip.MustParseAddrPort("127.0.0.1:20002")
	core := &connmodel.Termination{ID: "ip/core/1.2", Kind: connmodel.KindCore, Realm: "core", Streams: []connmodel.Stream{one, two}}
	got := rows(contexts.TerminationSnapshot{Termination: core, Statistics: []*iqv1.Statistics{{StreamId: 2, PacketsSent: 9}, {StreamId: 1, PacketsSent: 4}}})
	if len(got) != 2 || got[0].StreamId != 1 || got[0].PacketsSent != 4 || got[0].Mode != "sendrecv" || got[0].LocalAddress != "127.0.0.1:20000" ||
		got[1].StreamId != 2 || got[1].PacketsSent != 9 || got[1].Mode != "inactive" || got[1].LocalAddress != "127.0.0.1:20002" || got[1].TerminationId != "ip/core/1.2" {
		t.Errorf("rows %v", got)
	}
}

func TestHeapInUse(t *testing.T) {
	if n := heapInUse(); n == 0 {
		t.Error("no heap in use")
	}
}
