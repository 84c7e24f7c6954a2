package connmodel

import (
	"net/netip"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// protos are the transports of m= lines that each kind can carry, the default first. A browser's line means DTLS-SRTP over
// ICE whichever of these it names (RFC 8829 §5.1.2).
var protos = map[Kind][]string{
	KindAccess: {"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVP", "RTP/SAVPF", "RTP/SAVP"},
	KindCore:   {"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF"},
}

// parseDescription checks what Local and Remote have in common; addresses are not looked at.
func parseDescription(m *iqv1.MediaDescription, kind Kind) (Description, *Error) {
	var d Description
	if m.GetMedia() != "" && m.GetMedia() != "audio" {
		return d, Errorf(gwerr.UnsupportedMedia, "media %q; audio is implemented", Clip(m.GetMedia()))
	}
	d.Proto = m.GetProto()
	if d.Proto == "" {
		d.Proto = protos[kind][0]
	}
	if !containsFold(protos[kind], d.Proto) {
		return d, Errorf(gwerr.UnsupportedValue, "proto %q on a %s termination", Clip(d.Proto), kind)
	}
	if m.GetPtimeMs() > 240 || m.GetMaxptimeMs() > 1000 {
		return d, Errorf(gwerr.UnsupportedValue, "ptime_ms %d, maxptime_ms %d; at most 240 and 1000", m.GetPtimeMs(), m.GetMaxptimeMs())
	}
	d.PtimeMs, d.MaxMs = m.GetPtimeMs(), m.GetMaxptimeMs()
	d.MaxBps = m.GetMaxBitrate()
	d.SSRC, d.CName = m.GetSsrc(), Clip(m.GetCname())
	var err *Error
	if d.Codecs, err = parseCodecs(m.GetCodecs(), kind); err != nil {
		return d, err
	}
	d.Extensions, err = parseExtensions(m.GetHeaderExtensions())
	return d, err
}

// parseRemoteAddress takes the peer's address of a core termination.
func parseRemoteAddress(m *iqv1.MediaDescription, kind Kind, d *Description) *Error {
	if kind == KindAccess {
		return nil // the candidates rule
	}
	if m.GetPort() > 65535 || m.GetRtcpPort() > 65535 {
		return Errorf(codeCommandSyntax, "port %d, rtcp_port %d; at most 65535", m.GetPort(), m.GetRtcpPort())
	}
	d.Port, d.RTCPPort = uint16(m.GetPort()), uint16(m.GetRtcpPort())
	if m.GetAddress() == "" {
		if d.Port != 0 {
			return Errorf(codeCommandSyntax, "port %d without an address", d.Port)
		}
		return nil
	}
	addr, err := netip.ParseAddr(m.GetAddress())
	if err != nil || addr.Zone() != "" {
		return Errorf(codeCommandSyntax, "address %q is no IP address literal", Clip(m.GetAddress()))
	}
	addr = addr.Unmap()
	if addr.IsMulticast() {
		return Errorf(gwerr.UnsupportedValue, "address %s is not unicast", addr)
	}
	if a := m.GetRtcpAddress(); a != "" {
		rtcp, err := netip.ParseAddr(a)
		switch {
		case err != nil || rtcp.Zone() != "":
			return Errorf(codeCommandSyntax, "rtcp_address %q is no IP address literal", Clip(a))
		case rtcp.IsMulticast() || rtcp.IsUnspecified() || rtcp.Unmap().Is4() != addr.Is4():
			return Errorf(gwerr.UnsupportedValue, "rtcp_address %s beside %s", rtcp, addr)
		}
		d.RTCPAddr = rtcp.Unmap()
	}
	if !addr.IsUnspecified() { // 0.0.0.0 is the hold of RFC 2543: nowhere to send to
		d.Addr = addr
	}
	return nil
}

func parseCodecs(list []*iqv1.Codec, kind Kind) ([]codec.Codec, *Error) {
	if len(list) > maxCodecs {
		return nil, Errorf(gwerr.UnsupportedValue, "%d codecs, at most %d", len(list), maxCodecs)
	}
	var out []codec.Codec
	var seen [128]bool
	for _, m := range list {
		pt := m.GetPayloadType()
		switch {
		case pt > 127:
			return nil, Errorf(codeCommandSyntax, "payload type %d, at most 127", pt)
		case pt >= 72 && pt <= 76, kind == KindAccess && pt >= 64 && pt <= 95: // cannot be told from RTCP when multiplexed
			return nil, Errorf(gwerr.UnsupportedValue, "payload type %d is in the range of RTCP (RFC 5761 §4)", pt)
		case seen[pt]:
			return nil, Errorf(codeCommandSyntax, "payload type %d twice", pt)
		case m.GetName() == "" || len(m.GetName()) > 64 || m.GetClockRate() == 0:
			return nil, Errorf(codeCommandSyntax, "payload type %d: codec %q at %d Hz", pt, Clip(m.GetName()), m.GetClockRate())
		case m.GetChannels() > 8 || len(m.GetFmtp()) > 1024:
			return nil, Errorf(gwerr.UnsupportedValue, "payload type %d: %d channels, fmtp of %d bytes", pt, m.GetChannels(), len(m.GetFmtp()))
		}
		seen[pt] = true
		out = append(out, codec.Codec{
			Name: m.GetName(), PT: uint8(pt), ClockRate: m.GetClockRate(), Channels: uint8(max(m.GetChannels(), 1)), Fmtp: m.GetFmtp(),
		})
	}
	return out, nil
}

func parsePrefixes(list []string) ([]netip.Prefix, *Error) {
	if len(list) > maxPrefixes {
		return nil, Errorf(gwerr.UnsupportedValue, "%d prefixes, at most %d", len(list), maxPrefixes)
	}
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, Errorf(codeCommandSyntax, "%q is no CIDR prefix", Clip(s))
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// checkICECredentials checks length and alphabet (RFC 8839 §5.4). The password is never put into an error text.
func checkICECredentials(ufrag, pwd string) *Error {
	if len(ufrag) < 4 || len(ufrag) > 256 || !iceChars(ufrag) {
		return Errorf(codeCommandSyntax, "ufrag %q is not 4 to 256 ice-chars", Clip(ufrag))
	}
	if len(pwd) < 22 || len(pwd) > 256 || !iceChars(pwd) {
		return Errorf(codeCommandSyntax, "pwd of %d bytes is not 22 to 256 ice-chars", len(pwd))
	}
	return nil
}

// iceChars reports whether s is ice-chars only: ALPHA, DIGIT, "+", "/" (RFC 8839 §5.1).
// DEVIATES RFC 8839 §5.1: "-", "_" and "=" pass too, as some stacks send base64url or padded values.
func iceChars(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/', c == '-', c == '_', c == '=':
		default:
			return false
		}
	}
	return true
}

// parseCandidates takes the candidates that are of use: UDP, components 1 and 2, an IP literal. Names (".local") and others are
// ignored, as peer-reflexive candidates replace them (RFC 8839 §5.1, RFC 8828 §3).
func parseCandidates(list []*iqv1.Candidate) ([]Candidate, *Error) {
	if len(list) > maxCandidates {
		return nil, Errorf(gwerr.UnsupportedValue, "%d candidates, at most %d", len(list), maxCandidates)
	}
	var out []Candidate
	for _, m := range list {
		addr, err := netip.ParseAddr(m.GetAddress())
		if err != nil || !strings.EqualFold(m.GetTransport(), "udp") || m.GetComponent() > 2 || m.GetPort() == 0 || m.GetPort() > 65535 {
			continue
		}
		out = append(out, Candidate{
			Foundation: Clip(m.GetFoundation()), Component: uint8(max(m.GetComponent(), 1)), Transport: "udp", Priority: m.GetPriority(),
			Addr: netip.AddrPortFrom(addr.WithZone("").Unmap(), uint16(m.GetPort())), Type: Clip(m.GetType()),
		})
	}
	return out, nil
}

// digestLength is the length in bytes of the hash functions that are accepted (RFC 8122 §5; weaker ones are refused).
var digestLength = map[string]int{"sha-256": 32, "sha-384": 48, "sha-512": 64}

func parseFingerprints(list []*iqv1.Fingerprint) ([]Fingerprint, *Error) {
	if len(list) > maxFingerprints {
		return nil, Errorf(gwerr.UnsupportedValue, "%d fingerprints, at most %d", len(list), maxFingerprints)
	}
	var out []Fingerprint
	var refused string
	for _, m := range list {
		hash := strings.ToLower(m.GetHash())
		n, ok := digestLength[hash]
		if !ok {
			refused = m.GetHash()
			continue
		}
		value := strings.ToUpper(m.GetValue())
		if !hexBytes(value, n) {
			return nil, Errorf(codeCommandSyntax, "fingerprint %q is not %d hex bytes", Clip(m.GetValue()), n)
		}
		out = append(out, Fingerprint{Hash: hash, Value: value})
	}
	if len(out) == 0 && refused != "" {
		return nil, Errorf(gwerr.UnsupportedValue, "fingerprint hash %q; sha-256, sha-384 and sha-512 are accepted", Clip(refused))
	}
	return out, nil
}

// hexBytes reports whether s is n upper-case hex bytes separated by colons.
func hexBytes(s string, n int) bool {
	if len(s) != 3*n-1 {
		return false
	}
	for i, c := range []byte(s) {
		hex := c >= '0' && c <= '9' || c >= 'A' && c <= 'F'
		if (i%3 == 2) != (c == ':') || i%3 != 2 && !hex {
			return false
		}
	}
	return true
}

func containsFold(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}
