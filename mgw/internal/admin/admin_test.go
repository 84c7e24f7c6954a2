package admin

import (
	"errors"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/contexts"
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
	core := &connmodel.Termination{ID: "ip/core/1.2", Kind: connmodel.KindCore, Realm: "core"}
	core.Stream.Mode = connmodel.ModeRecvOnly
	core.Stream.Remote.Addr, core.Stream.Remote.Port = netip.MustParseAddr("192.0.2.7"), 4000
	core.Local.RTP = netip.MustParseAddrPort("127.0.0.1:20000")
	row := termination(contexts.TerminationSnapshot{Termination: core, Statistics: &iqv1.Statistics{PacketsLost: 3, CodecReceived: "PCMA/8000"}})
	if row.Kind != "rtp-core" || row.Mode != "recvonly" || row.LocalAddress != "127.0.0.1:20000" || row.RemoteAddress != "192.0.2.7:4000" ||
		row.PacketsLost != 3 || row.CodecReceived != "PCMA/8000" {
		t.Errorf("core: %v", row)
	}
	row = termination(contexts.TerminationSnapshot{Termination: core, Statistics: &iqv1.Statistics{SelectedPair: "127.0.0.1:20000 198.51.100.1:5"}})
	if row.RemoteAddress != "198.51.100.1:5" {
		t.Errorf("latched: %v", row)
	}
	access := &connmodel.Termination{ID: "ip/access/1.1", Kind: connmodel.KindAccess}
	access.Local.Candidates = []connmodel.Candidate{{Addr: netip.MustParseAddrPort("192.0.2.1:7430")}}
	if row := termination(contexts.TerminationSnapshot{Termination: access}); row.LocalAddress != "192.0.2.1:7430" || row.RemoteAddress != "" {
		t.Errorf("access: %v", row)
	}
}

func TestHeapInUse(t *testing.T) {
	if n := heapInUse(); n == 0 {
		t.Error("no heap in use")
	}
}
