package app

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"github.com/isthmus-gateway/isthmus/pkg/wait"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// bundle is a browser that sends and receives several streams over its one transport, and core peers, one for each.
type bundle struct {
	*browser
	g     *gateway
	in    *srtp.Context
	out   *srtp.Context
	cores []net.PacketConn
	seq   uint16
}

const midExtension = 4

func newBundle(t *testing.T, g *gateway, n int) *bundle {
	t.Helper()
	x := &bundle{browser: newBrowser(t), g: g}
	x.media = make(chan []byte, 256)
	for range n {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		x.cores = append(x.cores, c)
	}
	return x
}

// access and core are stream i+1 of either side.
func (x *bundle) access(i int) *iqv1.Stream {
	pcma := codecs("PCMA")
	return &iqv1.Stream{
		StreamId: uint32(i + 1), Mid: mid(i), LocalControl: &iqv1.LocalControl{Mode: iqv1.LocalControl_MODE_SENDRECV, Rtcp: &iqv1.RtcpPolicy{Mux: true}},
		Local:  &iqv1.MediaDescription{Codecs: pcma},
		Remote: &iqv1.MediaDescription{Codecs: pcma, HeaderExtensions: []*iqv1.HeaderExtension{{Id: midExtension, Uri: "urn:ietf:params:rtp-hdrext:sdes:mid"}}},
	}
}

func (x *bundle) core(i int) *iqv1.Stream {
	pcma := codecs("PCMA")
	at := x.cores[i].LocalAddr().(*net.UDPAddr)
	return &iqv1.Stream{
		StreamId: uint32(i + 1), LocalControl: &iqv1.LocalControl{Mode: iqv1.LocalControl_MODE_SENDRECV},
		Local:  &iqv1.MediaDescription{Codecs: pcma},
		Remote: &iqv1.MediaDescription{Codecs: pcma, Address: at.IP.String(), Port: uint32(at.Port)},
	}
}

func mid(i int) string { return string(rune('a' + i)) }

// secure takes the SRTP keys of the association.
func (x *bundle) secure() {
	x.t.Helper()
	state, ok := x.conn.ConnectionState()
	cfg := &srtp.Config{Profile: srtp.ProtectionProfileAeadAes128Gcm}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, true); !ok || err != nil {
		x.t.Fatal(ok, err)
	}
	var err error
	if x.out, err = srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile); err != nil {
		x.t.Fatal(err)
	}
	if x.in, err = srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile); err != nil {
		x.t.Fatal(err)
	}
}

// packet is the next one of a stream whose audio is one octet all through; mid "": without.
func (x *bundle) packet(ssrc uint32, octet byte, mid string) []byte {
	x.t.Helper()
	x.seq++
	p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8, SequenceNumber: x.seq, Timestamp: uint32(x.seq) * 160, SSRC: ssrc}, Payload: bytes.Repeat([]byte{octet}, 160)}
	if mid != "" {
		if err := p.SetExtension(midExtension, []byte(mid)); err != nil {
			x.t.Fatal(err)
		}
	}
	raw, err := p.Marshal()
	if err != nil {
		x.t.Fatal(err)
	}
	return raw
}

// speak sends a packet of the browser's stream i.
func (x *bundle) speak(i int, mid string) {
	x.t.Helper()
	raw, err := x.out.EncryptRTP(nil, x.packet(uint32(1000+i), byte(0x11*(i+1)), mid), nil)
	if err == nil {
		_, err = x.pair.Write(raw)
	}
	if err != nil {
		x.t.Fatal(err)
	}
}

// heard waits for the next packet at core peer i and returns it.
func (x *bundle) heard(i int) *rtp.Packet {
	x.t.Helper()
	buf := make([]byte, 1500)
	_ = x.cores[i].SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := x.cores[i].ReadFrom(buf)
	if err != nil {
		x.t.Fatalf("core peer %d: %v", i, err)
	}
	p := &rtp.Packet{}
	if err := p.Unmarshal(buf[:n]); err != nil {
		x.t.Fatal(err)
	}
	return p
}

// received waits for the next RTP packet at the browser.
func (x *bundle) received() *rtp.Packet {
	x.t.Helper()
	raw := x.datagram()
	for raw[1] >= 192 && raw[1] <= 223 { // RTCP
		raw = x.datagram()
	}
	plain, err := x.in.DecryptRTP(nil, raw, nil)
	if err != nil {
		x.t.Fatal(err)
	}
	p := &rtp.Packet{}
	if err := p.Unmarshal(plain); err != nil {
		x.t.Fatal(err)
	}
	return p
}

// datagram waits for the next one that is not DTLS.
func (x *bundle) datagram() []byte {
	x.t.Helper()
	select {
	case raw := <-x.media:
		return raw
	case <-time.After(10 * time.Second):
		x.t.Fatal("the browser hears nothing")
		return nil
	}
}

// TestIQ35_StreamsOverRealMedia: an Add of two streams on either side, and a third that comes while the call runs (TS 29.334 §5.7.2). What the browser sends over
// its one transport comes to the core peer of its m= line and to no other, and what the core peers send comes back with the SSRC and MID of theirs; each
// stream is told, held and counted by itself.
func TestIQ35_StreamsOverRealMedia(t *testing.T) {
	c := startController(t)
	g := startGateway(t, c)
	caps, err := g.iq.AuditCapabilities(t.Context(), &iqv1.AuditCapabilitiesRequest{})
	if err != nil || !slices.Contains(caps.Features, "streams") {
		t.Errorf("capabilities: %v, %v", caps, err)
	}
	x := newBundle(t, g, 3)
	req := x.offer("t-1")
	access, core := req.Actions[0].Commands[0].GetAdd().GetDescriptor_(), req.Actions[0].Commands[1].GetAdd().GetDescriptor_()
	access.Streams, core.Streams = []*iqv1.Stream{x.access(0), x.access(1)}, []*iqv1.Stream{x.core(0), x.core(1)}
	access.Events.Specs = append(access.Events.Specs, &iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_MEDIA_STARTED})
	core.Events = &iqv1.EventsDescriptor{RequestId: 4, Specs: []*iqv1.EventSpec{{Type: iqv1.EventType_EVENT_TYPE_MEDIA_STARTED, StreamId: 2}}}
	call := g.transact(req).Actions[0]
	if call.Error != nil {
		t.Fatal(call.Error)
	}
	// What the peers are told, by stream.
	ours, theirs := call.Commands[0].Resolved.Streams, call.Commands[1].Resolved.Streams
	if len(ours) != 2 || len(theirs) != 2 || len(call.Commands[0].Paths) != 2 || call.Commands[0].Paths[1].StreamId != 2 {
		t.Fatalf("resolved %v, %v; paths %v", ours, theirs, call.Commands[0].Paths)
	}
	if err := x.connect(call.Commands[0].Resolved.Transport); err != nil {
		t.Fatal(err)
	}
	x.secure()
	wait.Until(t, "ICE and DTLS at the gateway", func() bool { return story(c.events()) == "ICE_RESULTconnected DTLS_STATEconnected" })
	// exchange sends a packet of stream i each way and looks at what comes.
	exchange := func(i int, mid0 string) {
		t.Helper()
		x.speak(i, mid0)
		if p := x.heard(i); p.SSRC != theirs[i].Local.Ssrc || p.Payload[0] != byte(0x11*(i+1)) || p.Extension {
			t.Errorf("core peer %d heard SSRC %d of %#x, want %d", i, p.SSRC, p.Payload[0], theirs[i].Local.Ssrc)
		}
		to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(theirs[i].Local.Port)}
		if _, err := x.cores[i].WriteTo(x.packet(uint32(2000+i), byte(0x1f+0x10*i), ""), to); err != nil {
			t.Fatal(err)
		}
		if p := x.received(); p.SSRC != ours[i].Local.Ssrc || p.Payload[0] != byte(0x1f+0x10*i) || string(p.GetExtension(midExtension)) != mid(i) {
			t.Errorf("the browser received SSRC %d, MID %q, of %#x; want %d, %q", p.SSRC, p.GetExtension(midExtension), p.Payload[0], ours[i].Local.Ssrc, mid(i))
		}
	}
	for range 3 {
		exchange(0, mid(0))
		exchange(1, mid(1))
	}
	exchange(1, "") // the SSRC is bound by now
	wait.Until(t, "events", func() bool { return len(c.events()) >= 5 })
	var told []string
	for _, n := range c.events() {
		told = append(told, fmt.Sprintf("%s@%d", strings.TrimPrefix(n.Events[0].Type.String(), "EVENT_TYPE_"), n.Events[0].StreamId))
	}
	slices.Sort(told)
	if want := "DTLS_STATE@0 ICE_RESULT@0 MEDIA_STARTED@1 MEDIA_STARTED@2 MEDIA_STARTED@2"; strings.Join(told, " ") != want {
		t.Errorf("told %v, want %s", told, want)
	}
	// A third m= line of a re-INVITE; the second is held at the same time, which the others do not notice.
	hold := &iqv1.Stream{StreamId: 2, LocalControl: &iqv1.LocalControl{Mode: iqv1.LocalControl_MODE_INACTIVE, Rtcp: &iqv1.RtcpPolicy{Mux: true}}}
	add := onContext("t-2", call.ContextId, nil)
	add.Actions[0].Atomic, add.Actions[0].Commands = true, []*iqv1.Command{
		{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{Termination: byID(call.Commands[0].TerminationId), Descriptor_: &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{hold, x.access(2)}}}}},
		{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{Termination: byID(call.Commands[1].TerminationId), Descriptor_: &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{x.core(2)}}}}},
	}
	more := g.transact(add).Actions[0]
	if more.Error != nil {
		t.Fatal(more.Error)
	}
	ours, theirs = append(ours, more.Commands[0].Resolved.Streams...), append(theirs, more.Commands[1].Resolved.Streams...)
	x.speak(1, mid(1))
	exchange(2, mid(2))
	exchange(0, "")
	// Operators and audits see all of them.
	list, err := adminv1.NewGatewayAdminClient(g.admin).ListContexts(t.Context(), &adminv1.ListContextsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, r := range list.Contexts[0].Terminations {
		rows = append(rows, fmt.Sprintf("%s/%d %s", r.Kind, r.StreamId, r.Mode))
	}
	if want := "webrtc-access/1 sendrecv, webrtc-access/2 inactive, webrtc-access/3 sendrecv, rtp-core/1 sendrecv, rtp-core/2 sendrecv, rtp-core/3 sendrecv"; strings.Join(rows, ", ") != want {
		t.Errorf("operators see %v", rows)
	}
	var figures []string
	for _, s := range g.transact(onContext("t-3", call.ContextId, subtractAll())).Actions[0].Commands[0].Statistics {
		figures = append(figures, fmt.Sprintf("%s/%d %d %d", s.TerminationId, s.StreamId, s.PacketsReceived, s.PacketsSent))
		if held := s.StreamId == 2 && s.TerminationId == call.Commands[0].TerminationId; held != (s.Dropped["mode"] == 1) || len(s.Dropped) > 1 {
			t.Errorf("%s stream %d: dropped %v", s.TerminationId, s.StreamId, s.Dropped)
		}
	}
	want := fmt.Sprintf("%s/1 4 4, %[1]s/2 4 4, %[1]s/3 1 1, %s/1 4 4, %[2]s/2 4 4, %[2]s/3 1 1", call.Commands[0].TerminationId, call.Commands[1].TerminationId)
	if got := strings.Join(figures, ", "); got != want {
		t.Errorf("statistics %s\nwant %s", got, want)
	}
	if r := g.resources(); r.Contexts != 0 || r.Terminations != 0 || r.PortPairs != 0 {
		t.Errorf("left: %v", r)
	}
}

// TestIQ35_BrowserWithoutBundle: two transports, so two access terminations, of which each has one of the streams of the one core termination; what each
// sends comes to its own core peer.
func TestIQ35_BrowserWithoutBundle(t *testing.T) {
	c := startController(t)
	g := startGateway(t, c)
	lines := []*bundle{newBundle(t, g, 2), newBundle(t, g, 0)}
	lines[1].cores = lines[0].cores
	req := lines[0].offer("t-1")
	act := req.Actions[0]
	core := act.Commands[1]
	core.GetAdd().GetDescriptor_().Streams = []*iqv1.Stream{lines[0].core(0), lines[0].core(1)}
	act.Commands = []*iqv1.Command{act.Commands[0], lines[1].offer("t-1").Actions[0].Commands[0], core}
	for i, x := range lines {
		act.Commands[i].GetAdd().GetDescriptor_().Streams = []*iqv1.Stream{x.access(i)}
	}
	call := g.transact(req).Actions[0]
	if call.Error != nil {
		t.Fatal(call.Error)
	}
	for i, x := range lines {
		if err := x.connect(call.Commands[i].Resolved.Transport); err != nil {
			t.Fatal(err)
		}
		x.secure()
	}
	wait.Until(t, "ICE and DTLS of both", func() bool { return strings.Count(story(c.events()), "DTLS_STATEconnected") == 2 })
	for _, i := range []int{1, 0, 1} {
		lines[i].speak(i, "")
		if p := lines[i].heard(i); p.SSRC != call.Commands[2].Resolved.Streams[i].Local.Ssrc || p.Payload[0] != byte(0x11*(i+1)) {
			t.Errorf("core peer %d heard SSRC %d of %#x", i, p.SSRC, p.Payload[0])
		}
	}
	var figures []string
	for _, s := range g.transact(onContext("t-2", call.ContextId, subtractAll())).Actions[0].Commands[0].Statistics {
		figures = append(figures, fmt.Sprintf("%s/%d %d %d", s.TerminationId, s.StreamId, s.PacketsReceived, s.PacketsSent))
	}
	want := fmt.Sprintf("%s/1 1 0, %s/2 2 0, %s/1 0 1, %[3]s/2 0 2", call.Commands[0].TerminationId, call.Commands[1].TerminationId, call.Commands[2].TerminationId)
	if got := strings.Join(figures, ", "); got != want {
		t.Errorf("statistics %s\nwant %s", got, want)
	}
}

func byID(id string) *iqv1.TerminationRef {
	return &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: id}}
}
