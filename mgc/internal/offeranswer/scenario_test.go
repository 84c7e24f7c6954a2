package offeranswer

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// scenario is a call written down step by step; the trace of what the planner says and tells the MGW is its golden file.
//
//	browser offers FILE [change ...]    FILE of pkg/sdp/testdata; "again" is the offer before
//	phone offers PAYLOAD-TYPES [change ...]
//	browser answers FILE [change ...]   when the planner has offered to that side
//	phone answers PAYLOAD-TYPES [change ...]
//	browser refuses, phone refuses
//
// Changes are those of change.
type scenario struct {
	t      *testing.T
	trace  trace
	m      Media
	mgw    peertest.Gateway
	from   Side // whose offer is being answered
	before Media
	again  string
	lines  []string // "type mid" of the browser's m= lines
	offer  *sdp.Description
	change Change
}

func play(t *testing.T, name string, prefer Preference, steps ...string) *scenario {
	t.Helper()
	p := DefaultPolicy()
	p.Prefer = prefer
	return playWith(t, name, p, steps...)
}

func playWith(t *testing.T, name string, p Policy, steps ...string) *scenario {
	t.Helper()
	s := &scenario{t: t, trace: trace{t: t}, m: New(p, 1, 2, strings.Repeat("t", 32))}
	for _, step := range steps {
		fmt.Fprintf(&s.trace.b, "### %s\n\n", step)
		s.step(strings.Fields(step))
	}
	s.trace.compare(name)
	return s
}

// phoneAMR are the payload types of AMR that phones use in scenarios.
const phoneAMR = "a=rtpmap:97 AMR-WB/16000/1\na=fmtp:97 mode-set=0,1,2;mode-change-capability=2;max-red=0\n" +
	"a=rtpmap:98 AMR-WB/16000/1\na=fmtp:98 octet-align=1;mode-change-capability=2;max-red=0\n" +
	"a=rtpmap:102 telephone-event/8000\na=fmtp:102 0-15\n" +
	"a=rtpmap:103 AMR/8000/1\na=fmtp:103 octet-align=1;mode-change-capability=2;max-red=0\n" +
	"a=rtpmap:104 AMR/8000/1\na=fmtp:104 mode-set=0,2,4,7;mode-change-period=2;mode-change-neighbor=1;mode-change-capability=2;max-red=0\n" +
	"a=rtpmap:105 AMR-WB/16000/1\na=fmtp:105 octet-align=1;mode-change-capability=2;max-red=0\n" +
	"a=rtpmap:106 AMR-WB/16000/1\na=fmtp:106 mode-change-capability=2;max-red=0\n" +
	"a=rtpmap:107 EVS/16000/1\na=fmtp:107 br=5.9-24.4;bw=nb-swb;max-red=0\n" +
	"a=rtpmap:108 telephone-event/16000\na=fmtp:108 0-15\n" +
	"a=rtpmap:109 AMR/8000/1\na=fmtp:109 crc=1\n"

func (s *scenario) step(f []string) {
	s.t.Helper()
	side := Core
	if f[0] == "browser" {
		side = Access
	}
	switch f[1] {
	case "offers":
		s.takeOffer(side, s.describe(side, f[2], f[3:]))
	case "answers":
		m, err := s.m.Answer(side, s.describe(side, f[2], f[3:]))
		if err != nil {
			s.t.Fatal(err)
		}
		s.m = m
		s.finish()
	case "refuses":
		s.m = s.m.Undo(s.before)
		s.tell("unchanged")
	default:
		s.t.Fatalf("what is %q", f)
	}
}

func (s *scenario) describe(side Side, what string, changes []string) *sdp.Description {
	s.t.Helper()
	var d *sdp.Description
	if side == Core {
		d = parse(s.t, "v=0\no=- 9 1 IN IP4 10.9.0.7\ns=-\nc=IN IP4 10.9.0.7\nt=0 0\nm=audio 4000 RTP/AVP "+strings.ReplaceAll(what, ",", " ")+
			"\na=rtpmap:96 telephone-event/8000\na=rtpmap:101 telephone-event/8000\na=rtpmap:18 G729/8000\n"+phoneAMR+"a=ptime:20\na=sendrecv\n")
	} else {
		if what == "again" {
			what = s.again
		}
		s.again = what
		raw, err := os.ReadFile("../../../pkg/sdp/testdata/" + what + ".sdp")
		if err != nil {
			s.t.Fatal(err)
		}
		if d, err = sdp.Parse(raw); err != nil {
			s.t.Fatal(err)
		}
	}
	i := slices.IndexFunc(d.Media, func(m sdp.Media) bool { return m.Type == "audio" })
	for _, c := range changes {
		key, val, _ := strings.Cut(c, "=")
		if n, rest, further := strings.Cut(key, "."); further { // of audio line n, from 1
			if !change(d, audioLine(d, n), rest, val) {
				s.t.Fatalf("what is %q", c)
			}
			continue
		}
		if !change(d, &d.Media[i], key, val) {
			s.t.Fatalf("what is %q", c)
		}
		i = slices.IndexFunc(d.Media, func(m sdp.Media) bool { return m.Type == "audio" })
	}
	return d
}

// audioLine is the nth audio line.
func audioLine(d *sdp.Description, n string) *sdp.Media {
	left, _ := strconv.Atoi(n)
	for i := range d.Media {
		if d.Media[i].Type == "audio" {
			if left--; left == 0 {
				return &d.Media[i]
			}
		}
	}
	return nil
}

// change makes one change to a description: what a browser's or phone's next one differs in.
func change(d *sdp.Description, a *sdp.Media, key, val string) bool {
	switch key {
	case "dir": // what stops sending loses its track, as in browsers
		for _, dir := range []sdp.Direction{sdp.SendRecv, sdp.SendOnly, sdp.RecvOnly, sdp.Inactive} {
			if dir.String() == val {
				if a.Direction = dir; !dir.Sends() {
					a.Msids, a.SSRCs = nil, nil
				}
			}
		}
	case "setup":
		for i := range d.Media {
			d.Media[i].Setup = sdp.Setup(val)
		}
	case "ufrag":
		for _, t := range attributes(d) {
			if t.ICEUfrag != "" {
				t.ICEUfrag, t.ICEPwd = val, strings.Repeat("p", 20)+val
			}
		}
	case "print":
		for _, t := range attributes(d) {
			for i := range t.Fingerprints {
				t.Fingerprints[i].Value = strings.Repeat(val+":", 31) + val
			}
		}
	case "c":
		d.Connection = &sdp.Connection{Addr: sdp.AddressOf(netip.MustParseAddr(val))}
	case "port":
		_, _ = fmt.Sscan(val, &a.Port)
	case "bundle-only":
		a.Port, a.Other = 0, append(a.Other, sdp.Attribute{Name: "bundle-only"})
	case "add": // m= lines, in front with a leading ^
		kind, first := strings.CutPrefix(val, "^")
		m := sdp.Media{Type: kind, Port: 9, Proto: a.Proto, Formats: []string{"96"}, MID: "x" + kind, Attributes: a.Attributes, RTCPMux: a.RTCPMux}
		if m.Other, m.Extmaps = nil, nil; a.MID == "" {
			m.MID = ""
		}
		if kind == "video" {
			m.Codecs = []codec.Codec{{Name: "VP8", PT: 96, ClockRate: 90000, Channels: 1}}
		} else {
			m.Proto, m.Formats = "UDP/DTLS/SCTP", []string{"webrtc-datachannel"}
		}
		if first {
			d.Media = slices.Insert(d.Media, 0, m)
		} else {
			d.Media = append(d.Media, m)
		}
		if len(d.Groups) > 0 {
			d.Groups[0].MIDs = append(slices.Clone(d.Groups[0].MIDs), m.MID)
		}
	case "nobundle": // each line with a transport of its own, and no names when val is nomid
		d.Groups = nil
		for i := range d.Media {
			m := &d.Media[i]
			m.ICEUfrag, m.ICEPwd = fmt.Sprint("own", i), strings.Repeat("p", 22)
			m.Other = slices.DeleteFunc(m.Other, func(o sdp.Attribute) bool { return o.Name == "bundle-only" })
			if m.Port == 0 {
				m.Port = 9
			}
			if val == "nomid" {
				m.MID = ""
			}
		}
	case "stop": // a line that is not used any more
		for i := range d.Media {
			if m := &d.Media[i]; m.Type == val {
				m.Port, m.Direction = 0, sdp.Inactive
			}
		}
	case "audio": // further lines like the audio one
		n, _ := strconv.Atoi(val)
		for k := len(d.Media); k < n; k++ {
			m := *a
			m.Port += uint16(10 * k)
			m.Cryptos = slices.Clone(a.Cryptos)
			if m.MID != "" {
				m.MID, m.SSRCs = strconv.Itoa(k), []sdp.SSRC{{ID: uint32(1000 * k), Name: "cname", Value: "web"}}
				d.Groups[0].MIDs = append(d.Groups[0].MIDs, m.MID)
			}
			d.Media = append(d.Media, m)
		}
	case "only": // the first audio lines, of a browser
		n, _ := strconv.Atoi(val)
		d.Media = d.Media[:n]
		for g := range d.Groups {
			d.Groups[g].MIDs = d.Groups[g].MIDs[:n]
		}
	case "quality": // preconditions
		a.Other = append(a.Other, sdp.Attribute{Name: "curr", Value: "qos local none"}, sdp.Attribute{Name: "curr", Value: "qos remote none"},
			sdp.Attribute{Name: "des", Value: "qos mandatory local sendrecv"}, sdp.Attribute{Name: "des", Value: "qos mandatory remote sendrecv"})
	case "apart":
		a.RTCPMux = false
	case "codecs":
		var cs []codec.Codec
		for pt := range strings.SplitSeq(val, ",") {
			i := slices.IndexFunc(a.Codecs, func(c codec.Codec) bool { return fmt.Sprint(c.PT) == pt })
			cs = append(cs, a.Codecs[i])
		}
		a.Codecs, a.Formats = cs, strings.Split(val, ",")
	case "mid":
		d.Groups = slices.Clone(d.Groups)
		for g := range d.Groups {
			if a.MID == "" {
				continue
			}
			d.Groups[g].MIDs = slices.Clone(d.Groups[g].MIDs)
			if i := slices.Index(d.Groups[g].MIDs, a.MID); i >= 0 {
				d.Groups[g].MIDs[i] = val
			}
		}
		a.MID = val
	case "without":
		a.Codecs = slices.DeleteFunc(a.Codecs, func(c codec.Codec) bool { return c.Is(val) })
	case "tls-id":
		a.TLSID = val
	case "proto":
		a.Proto = val
	case "crypto": // TAG:SUITE:SEED of the key[:parameters], one or more with +
		for one := range strings.SplitSeq(val, "+") {
			f := strings.SplitN(one, ":", 4)
			tag, _ := strconv.ParseUint(f[0], 10, 32)
			n := sdp.Suite(f[1]).KeyLength()
			if n == 0 {
				n = 30
			}
			c := sdp.NewCrypto(uint32(tag), sdp.Suite(f[1]), bytes.Repeat([]byte(f[2]), n)[:n])
			if len(f) > 3 {
				c.Params = f[3]
			}
			a.Cryptos = append(a.Cryptos, c)
		}
	default:
		return false
	}
	return true
}

func attributes(d *sdp.Description) []*sdp.Attributes {
	out := []*sdp.Attributes{&d.Attributes}
	for i := range d.Media {
		out = append(out, &d.Media[i].Attributes)
	}
	return out
}

func (s *scenario) takeOffer(side Side, d *sdp.Description) {
	s.t.Helper()
	first := s.m.Lines[Access].Said == nil && s.m.Lines[Core].Said == nil
	m, ch, err := s.m.Offer(side, d)
	if err != nil {
		fmt.Fprintf(&s.trace.b, "refused: %v\n\n", err)
		return
	}
	s.from, s.before, s.m, s.offer, s.change = side, s.m, m, d, ch
	if side == Access {
		s.remember(d)
	}
	if first {
		for _, at := range []Side{Access, Core} {
			fmt.Fprintf(&s.trace.b, "%s\n", brief("add", at, s.m.AddDescriptor(at, "r", Closed)))
			streams := s.mgw.Streams(at == Core, s.m.AddDescriptor(at, "r", Closed))
			if s.m, err = s.m.Resolve(at, s.mgw.Add(at == Core)); err != nil {
				s.t.Fatal(err)
			}
			s.m = s.m.Made(at, streams)
		}
		s.trace.b.WriteByte('\n')
	} else {
		fmt.Fprintf(&s.trace.b, "changes: %+v\n\n", ch)
		for _, at := range []Side{Access, Core} {
			if d := s.m.NewDescriptor(at); len(d.GetStreams()) > 0 {
				fmt.Fprintf(&s.trace.b, "%s\n", brief("streams", at, d))
				s.m = s.m.Made(at, s.mgw.Streams(at == Core, d))
			}
		}
	}
	if !first && !ch.Tell {
		s.finish()
		return
	}
	other := side.Other()
	m, body, err := s.m.MakeOffer(other, sdp.DirUnset)
	if err != nil {
		s.t.Fatal(err)
	}
	s.m = m
	s.trace.sdp("offer to the "+name(other), body)
	s.checkSaid(other, body, nil)
}

// finish answers the offer.
func (s *scenario) finish() {
	s.t.Helper()
	var err error
	if s.change.ICERestart {
		if s.m, err = s.m.Resolve(Access, &iqv1.TerminationDescriptor{Transport: s.mgw.Restart()}); err != nil {
			s.t.Fatal(err)
		}
	}
	m, body, err := s.m.MakeAnswer(s.from)
	if err != nil {
		s.t.Fatal(err)
	}
	s.m = m
	s.trace.sdp("answer to the "+name(s.from), body)
	s.checkSaid(s.from, body, s.offer)
	s.tell("modify")
}

func (s *scenario) tell(what string) {
	for _, at := range []Side{Access, Core} {
		fmt.Fprintf(&s.trace.b, "%s\n", brief(what, at, s.m.ModifyDescriptor(at, Open)))
	}
	s.trace.b.WriteByte('\n')
}

func (s *scenario) remember(d *sdp.Description) {
	s.lines = nil
	for _, m := range d.Media {
		s.lines = append(s.lines, m.Type+" "+m.MID)
	}
}

// checkSaid holds for every golden: nothing of WebRTC towards the core, the browser's lines in place, an answer within its offer.
func (s *scenario) checkSaid(side Side, body []byte, offer *sdp.Description) {
	s.t.Helper()
	d, err := sdp.Parse(body)
	if err != nil {
		s.t.Fatal(err)
	}
	if side == Core {
		checkCore(s.t, body, s.m.Policy.SRTP)
	} else if s.lines == nil {
		s.remember(d)
	}
	if side == Access && offer == nil && s.m.Policy.Streams > 1 { // a line of ours is new behind the others
		for _, m := range d.Media[min(len(s.lines), len(d.Media)):] {
			s.lines = append(s.lines, m.Type+" "+m.MID)
		}
	}
	for i, m := range d.Media {
		if side == Access && (i >= len(s.lines) || s.lines[i] != m.Type+" "+m.MID) {
			s.t.Errorf("line %d is %s %s; the browser has %v", i, m.Type, m.MID, s.lines)
		}
		if offer == nil || m.Port == 0 {
			continue
		}
		o := &offer.Media[i]
		for _, c := range m.Codecs {
			if !slices.ContainsFunc(o.Codecs, func(oc codec.Codec) bool { return oc.PT == c.PT && oc.SamePayload(c) }) {
				s.t.Errorf("%d %s was not offered", c.PT, c.Name)
			}
		}
		if dir := offer.DirectionOf(o).Reverse(); dir.And(m.Direction) != m.Direction {
			s.t.Errorf("%s answers %s", m.Direction, offer.DirectionOf(o))
		}
	}
	if offer != nil && len(d.Media) != len(offer.Media) {
		s.t.Errorf("%d lines answer %d", len(d.Media), len(offer.Media))
	}
}

// brief is a descriptor in one line.
func brief(what string, at Side, d *iqv1.TerminationDescriptor) string {
	out := fmt.Sprintf("%s %s: ", what, name(at))
	for i, st := range d.GetStreams() {
		if st.GetStreamId() > StreamID {
			out += fmt.Sprintf("%sstream %d: ", strings.Repeat("\n  ", min(i, 1)), st.GetStreamId())
		}
		out += briefStream(st)
	}
	if t := d.GetTransport(); t != nil {
		var cands []string
		for _, c := range t.GetRemoteIce().GetCandidates() {
			cands = append(cands, fmt.Sprintf("%s %s:%d", c.GetType(), c.GetAddress(), c.GetPort()))
		}
		out += fmt.Sprintf("\n    ICE %q, peer %q %v", t.GetLocalIce().GetUfrag(), t.GetRemoteIce().GetUfrag(), cands)
		out += fmt.Sprintf("\n    DTLS %s", strings.ToLower(strings.TrimPrefix(t.GetLocalDtls().GetRole().String(), "ROLE_")))
		for _, p := range t.GetRemoteDtls().GetFingerprints() {
			out += fmt.Sprintf(", peer %s %.11s...", p.GetHash(), p.GetValue())
		}
		if t.GetRemoteDtls().GetTlsId() != "" {
			out += fmt.Sprintf(", tls-ids %s %s", t.GetLocalDtls().GetTlsId(), t.GetRemoteDtls().GetTlsId())
		}
	}
	return out
}

func briefStream(st *iqv1.Stream) string {
	out := strings.ToLower(strings.TrimPrefix(st.GetLocalControl().GetMode().String(), "MODE_"))
	if st.GetMid() != "" {
		out += " mid " + st.GetMid()
	}
	out += fmt.Sprintf("\n    receives %s at %s:%d", list(st.GetLocal()), st.GetLocal().GetAddress(), st.GetLocal().GetPort())
	if r := st.GetRemote(); r != nil {
		out += fmt.Sprintf("\n    sends %s ptime %d to %s:%d, RTCP %d", list(r), r.GetPtimeMs(), r.GetAddress(), r.GetPort(), r.GetRtcpPort())
	}
	for _, c := range st.GetLocal().GetCryptos() {
		out += fmt.Sprintf("\n    %s own key %q", c.GetSuite(), c.GetKey())
	}
	for _, c := range st.GetRemote().GetCryptos() {
		out += fmt.Sprintf("\n    SRTP %s, peer's key %.3s...", c.GetSuite(), c.GetKey())
	}
	for _, x := range st.GetRemote().GetHeaderExtensions() {
		out += fmt.Sprintf("\n    peer's source %d, extension %d %s", st.GetRemote().GetSsrc(), x.GetId(), x.GetUri())
	}
	return out
}

func list(d *iqv1.MediaDescription) string {
	var out []string
	for _, c := range d.GetCodecs() {
		out = append(out, fmt.Sprintf("%d %s/%d", c.GetPayloadType(), c.GetName(), c.GetClockRate()))
	}
	return strings.Join(out, ", ")
}
