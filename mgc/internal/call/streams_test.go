package call

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/policy"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// twoLines is a call with two audio lines on each side, the browser's around a refused video.
func twoLines() *callcore.Facts {
	pcma, _ := codec.Static(8)
	g722, _ := codec.Static(9)
	web := []callcore.Line{{Type: "audio", Proto: "UDP/TLS/RTP/SAVPF", Used: true}, {Type: "video", Proto: "UDP/TLS/RTP/SAVPF"}, {Type: "audio", Proto: "UDP/TLS/RTP/SAVPF", Used: true}}
	core := []callcore.Line{{Type: "audio", Proto: "RTP/AVP", Used: true}, {Type: "audio", Proto: "RTP/AVP", Used: true}}
	side := func(lines []callcore.Line, audio int, c codec.Codec, dir sdp.Direction, local, remote string) callcore.Side {
		s := callcore.Side{Lines: lines, Audio: audio, Theirs: []codec.Codec{c}, Ours: []codec.Codec{c}, Chosen: c, Dir: dir, Want: dir.Reverse(), Local: netip.MustParseAddrPort(local)}
		if remote != "" {
			s.Remote = netip.MustParseAddrPort(remote)
		}
		return s
	}
	f := &callcore.Facts{Answered: true, Settled: true}
	f.Sides[callcore.LegAccess] = side(web, 0, pcma, sdp.SendRecv, "198.51.100.10:7430", "")
	f.Sides[callcore.LegAccess].Further = []callcore.Side{side(web, 2, g722, sdp.SendOnly, "198.51.100.10:7430", "")}
	f.Sides[callcore.LegCore] = side(core, 0, pcma, sdp.SendRecv, "10.20.0.11:30000", "10.9.0.7:4000")
	f.Sides[callcore.LegCore].Further = []callcore.Side{side(core, 1, g722, sdp.RecvOnly, "10.20.0.11:30002", "10.9.0.7:4010")}
	f.Pair.Remote = netip.MustParseAddrPort("203.0.113.5:5000")
	return f
}

// TestIQ35_PolicyFunctionIsToldOfEveryLine: each audio line that is a stream is media of its own, with its number, codec and direction.
func TestIQ35_PolicyFunctionIsToldOfEveryLine(t *testing.T) {
	f := twoLines()
	got := mediaOf(f, f.Sides[callcore.LegCore])
	if len(got) != 3 || got[0].Number != 1 || got[1].Number != 2 || got[2].Number != 3 || got[0].Removed || !got[1].Removed || got[2].Removed {
		t.Fatalf("%+v", got)
	}
	if got[0].Direction != policy.SendRecv || got[2].Direction != policy.RecvOnly || got[2].BandwidthUp == 0 || len(got[2].Flows) != 1 {
		t.Errorf("%+v\n%+v", got[0], got[2])
	}
	if sdp := got[2].Codecs[0].SDP; !slices.Contains(sdp, "a=rtpmap:9 G722/8000") || slices.Contains(sdp, "a=rtpmap:8 PCMA/8000") {
		t.Errorf("codecs of line 3: %v", sdp)
	}
	f.Sides[callcore.LegAccess].Further[0].Off = true
	if got := mediaOf(f, f.Sides[callcore.LegCore]); !got[2].Removed {
		t.Errorf("a line that is refused: %+v", got[2])
	}
}

// TestIQ35_RecordsTellOfEveryLine: a call data record has each line's codec, direction and addresses, and a change of a further one is a change of the media.
func TestIQ35_RecordsTellOfEveryLine(t *testing.T) {
	f := twoLines()
	before := digest(mediaFacts(f))
	for _, m := range mediaRecords(f, time.Unix(0, 0)) {
		last := m.Lines[len(m.Lines)-1]
		want, local, peer := "recvonly", "198.51.100.10:7430", "203.0.113.5:5000"
		if m.From == "core" {
			want, local, peer = "sendonly", "10.20.0.11:30002", "10.9.0.7:4010"
		}
		if last.Refused || last.Direction != want || last.Local != local || last.Peer != peer || !slices.Equal(last.Codecs, []string{"G722/8000"}) {
			t.Errorf("%s: %+v", m.From, last)
		}
		if first := m.Lines[0]; first.Direction != "sendrecv" || !slices.Equal(first.Codecs, []string{"PCMA/8000"}) {
			t.Errorf("%s: %+v", m.From, first)
		}
	}
	f.Sides[callcore.LegCore].Further[0].Dir = sdp.Inactive
	if digest(mediaFacts(f)) == before {
		t.Error("hold of a further line changes nothing")
	}
}
