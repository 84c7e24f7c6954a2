package call

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/cdr"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/mgc/internal/policy"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// policyFacts is what the policy function is told of the call: its access side (PCC-02, PCC-04).
func (o *owner) policyFacts(f *callcore.Facts) policy.Facts {
	out := policy.Facts{
		Call: o.key, Status: policy.Preliminary, UE: o.whereIsUE(), ChargingID: o.vector(f).ICID, Emergency: f.Emergency, Priority: int(o.state.Priority()),
		Media: mediaOf(f, f.Sides[callcore.LegCore]),
	}
	if f.Answered {
		out.Status = policy.Final
	}
	out.MPS = out.Priority > 0 && !f.Emergency // by Resource-Priority
	if f.Emergency {
		out.ServiceURN, _ = o.m.cfg.Emergency.Service(f.Invite.RequestURI)
	}
	for _, fork := range f.Forks {
		out.Forks = append(out.Forks, mediaOf(f, fork))
	}
	return out
}

// vector is the charging vector of the call: what we sent or received, else one with the call's key.
func (o *owner) vector(f *callcore.Facts) cdr.Vector {
	for _, field := range f.Dialog {
		if strings.EqualFold(field.Name, "P-Charging-Vector") {
			return cdr.ParseVector(field.Value)
		}
	}
	if v := cdr.ParseVector(f.Invite.Get("P-Charging-Vector")); f.Caller == callcore.LegCore && v.ICID != "" {
		return v
	}
	return cdr.Vector{ICID: o.key}
}

// mediaOf lists the media lines of the browser's dialog while the core's side is as given.
func mediaOf(f *callcore.Facts, core callcore.Side) []policy.Media {
	a := &f.Sides[callcore.LegAccess]
	var out []policy.Media
	for i, l := range a.Lines {
		s := a.At(i)
		switch k := slices.IndexFunc(a.Further, func(x callcore.Side) bool { return s != nil && x.Audio == i }); {
		case s == nil:
			out = append(out, policy.Media{Number: i + 1, Type: l.Type, Removed: true})
		case k >= 0 && k < len(core.Further):
			out = append(out, audioOf(f, s, &core.Further[k]))
		case k >= 0: // the core has not been told of it
			out = append(out, audioOf(f, s, &callcore.Side{}))
		default:
			out = append(out, audioOf(f, s, &core))
		}
	}
	if len(out) == 0 { // the browser has no description yet
		out = append(out, audioOf(f, a, &core))
	}
	return out
}

func audioOf(f *callcore.Facts, a, core *callcore.Side) policy.Media {
	m := policy.Media{Number: a.Audio + 1, Type: "audio", Direction: policyDirection(accessDirection(f.Answered, a, core))}
	m.BandwidthUp = bandwidth(inUse(a, a.Ours), a.Local.Addr())
	m.BandwidthDown = bandwidth(inUse(a, a.Theirs), a.Local.Addr())
	up, down := "offer", "answer"
	if f.Caller == callcore.LegCore {
		up, down = down, up
	}
	if lines := describe(a, a.Theirs, 9); lines != nil {
		m.Codecs = append(m.Codecs, policy.Codec{Uplink: true, Kind: up, SDP: lines})
	}
	if lines := describe(a, a.Ours, a.Local.Port()); lines != nil {
		m.Codecs = append(m.Codecs, policy.Codec{Kind: down, SDP: lines})
	}
	if a.Local.IsValid() {
		m.Flows = []policy.Flow{{Local: a.Local, Remote: policy.Candidate{
			Type: f.Pair.Type, Addr: f.Pair.Remote, Related: f.Pair.Related, Transport: turnTransport(&f.Pair)}}}
	}
	return m
}

// turnTransport is how the browser reaches its TURN server; a candidate does not tell.
func turnTransport(p *callcore.Pair) string {
	if p.Type == "relay" {
		return ""
	}
	return p.Transport
}

// accessDirection is the direction of the browser's media from its own point of view: what is agreed, or before the answer what its
// description and the core's let it become.
func accessDirection(answered bool, a, core *callcore.Side) sdp.Direction {
	switch {
	case answered && a.Dir != sdp.DirUnset:
		return a.Dir.Reverse()
	case a.Want != sdp.DirUnset && core.Dir != sdp.DirUnset: // early: this fork has answered
		return a.Want.And(core.Dir)
	case a.Want != sdp.DirUnset:
		return a.Want
	case core.Want != sdp.DirUnset:
		return core.Want.Reverse()
	}
	return sdp.SendRecv
}

func policyDirection(d sdp.Direction) policy.Direction {
	switch d {
	case sdp.SendOnly:
		return policy.SendOnly
	case sdp.RecvOnly:
		return policy.RecvOnly
	case sdp.Inactive:
		return policy.Inactive
	}
	return policy.SendRecv
}

// inUse are the codecs that may be used: the chosen one, else those of the list.
func inUse(s *callcore.Side, list []codec.Codec) []codec.Codec {
	if !s.Chosen.IsZero() {
		return []codec.Codec{s.Chosen}
	}
	return list
}

const (
	packetsPerSecond = 50      // 20 ms each
	rtpOverhead      = 12 + 16 // RTP header, SRTP authentication tag of AES-GCM; bytes
	udpOverhead      = 8       // bytes
	opusRate         = 64_000  // bit/s, the most that RFC 7587 §3.1.1 names for one channel
)

// bandwidth is the highest rate of the codecs, bit/s with IP, UDP and RTP headers (TS 29.214 §5.3.14); 0: not known.
func bandwidth(list []codec.Codec, local netip.Addr) uint64 {
	var most uint64
	for _, c := range list {
		rate := 8 * packetsPerSecond * uint64(offeranswer.Payload(c))
		if c.Is(codec.Opus) { // offeranswer's is what we send; the browser may choose
			rate = opusRate
			if v, ok := c.Param("maxaveragebitrate"); ok {
				if n, err := strconv.ParseUint(v, 10, 32); err == nil && n > 0 {
					rate = n
				}
			}
		}
		most = max(most, rate)
	}
	if most == 0 {
		return 0
	}
	ip := uint64(20)
	if local.Is6() && !local.Is4In6() {
		ip = 40
	}
	return most + 8*packetsPerSecond*(ip+udpOverhead+rtpOverhead)
}

// describe are the lines of a description that say something of codecs (TS 29.214 §5.3.7).
func describe(s *callcore.Side, list []codec.Codec, port uint16) []string {
	if len(list) == 0 {
		return nil
	}
	proto := "UDP/TLS/RTP/SAVPF"
	if s.Audio < len(s.Lines) {
		proto = s.Lines[s.Audio].Proto
	}
	first := fmt.Sprintf("m=audio %d %s", port, proto)
	var lines []string
	for _, c := range list {
		first += " " + strconv.Itoa(int(c.PT))
		lines = append(lines, fmt.Sprintf("a=rtpmap:%d %s", c.PT, formatOf(c)))
		if c.Fmtp != "" {
			lines = append(lines, fmt.Sprintf("a=fmtp:%d %s", c.PT, c.Fmtp))
		}
	}
	return append([]string{first}, lines...)
}

// formatOf is the codec as a=rtpmap has it, e.g. "opus/48000/2".
func formatOf(c codec.Codec) string {
	s := fmt.Sprintf("%s/%d", c.Name, c.ClockRate)
	if n := c.ChannelCount(); n > 1 {
		s += fmt.Sprintf("/%d", n)
	}
	return s
}

// digest names a value by its content.
func digest(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return "" // plain values marshal
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:12])
}

// acceptable is the description in a 488 that tells the caller what would be authorised (TS 24.229 §5.2.7.2); nil: nothing to tell.
func acceptable(f *callcore.Facts, a *policy.Acceptable) []byte {
	if a == nil {
		return nil
	}
	s := &f.Sides[f.Caller]
	number := f.Sides[callcore.LegAccess].Audio + 1
	rates := []uint64{a.Media[number].Up, a.Media[number].Down, a.Up, a.Down}
	least := uint64(0)
	for _, r := range rates {
		if r > 0 && (least == 0 || r < least) {
			least = r
		}
	}
	list := s.Ours
	if len(list) == 0 {
		list = s.Theirs
	}
	if least < 1000 || len(list) == 0 || !s.Local.IsValid() || s.Audio >= len(s.Lines) {
		return nil
	}
	m := sdp.Media{Type: "audio", Proto: s.Lines[s.Audio].Proto, Codecs: list, Bandwidth: []sdp.Bandwidth{{Type: "AS", Value: least / 1000}}}
	for _, c := range list {
		m.Formats = append(m.Formats, strconv.Itoa(int(c.PT)))
	}
	addr := sdp.AddressOf(s.Local.Addr())
	m.Port, m.Connection = s.Local.Port(), &sdp.Connection{Addr: addr}
	d := sdp.Description{Origin: sdp.Origin{ID: 1, Version: 1, Addr: addr}, Media: []sdp.Media{m}}
	return d.Marshal()
}

// uriOf is the URI of a name-addr; "" when it is none.
func uriOf(value string) string {
	a, err := headers.ParseAddress(value)
	if err != nil {
		return ""
	}
	return a.URI
}
