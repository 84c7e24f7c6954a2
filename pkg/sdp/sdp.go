// Package sdp holds session descriptions as typed values, reads and writes them (RFC 8866). Floor 1 of pkg; pure, no goroutine.
//
// Parse is bounded and strict about structure, and tolerant of what browsers and SIP phones really send. Attributes that
// Isthmus uses become fields; all others stay in Attributes.Other in their order. Marshal writes a canonical order, so
// Parse(Marshal(d)) equals d while the octets may differ from those that were parsed. The lines i=, u=, e=, p=, k=, r= and z= are
// checked for form and dropped.
package sdp

import (
	"net/netip"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Limits of Parse.
const (
	MaxSize    = 64 << 10 // octets of a description
	MaxLines   = 4096     // lines
	MaxMedia   = 64       // m= lines
	MaxFormats = 128      // formats of one m= line
)

// Description is one session description. It is owned by its holder; nothing in this package keeps a reference.
type Description struct {
	Origin     Origin
	Name       string      // s=; "-" or empty: none
	Connection *Connection // c= at session level; nil: none
	Bandwidth  []Bandwidth
	Start      uint64 // t=, NTP seconds
	Stop       uint64
	Groups     []Group // a=group in order (RFC 5888 §5)
	ICELite    bool    // a=ice-lite (RFC 8839 §5.3)
	Attributes
	Media []Media // in the order of the m= lines
}

// Origin is the o= line (RFC 8866 §5.2).
type Origin struct {
	Username string // "-" when there is none
	ID       uint64 // sess-id
	Version  uint64 // sess-version
	Addr     Address
}

// Address is the addrtype and address of an o=, c= or a=rtcp line: an IP literal or a host name.
type Address struct {
	IP   netip.Addr // invalid when Host is a name
	Host string     // as written
}

// AddressOf returns the Address of an IP literal.
func AddressOf(ip netip.Addr) Address { return Address{IP: ip, Host: ip.String()} }

// Connection is a c= line (RFC 8866 §5.7). The TTL of a multicast address is dropped.
type Connection struct{ Addr Address }

// Bandwidth is a b= line; the unit of Value is that of Type: kbit/s for AS and CT, bit/s for RS, RR and TIAS.
type Bandwidth struct {
	Type  string
	Value uint64
}

// Attribute is an a= line that has no field of its own. Value is empty for a property attribute.
type Attribute struct {
	Name  string
	Value string
}

// Group is a=group (RFC 5888 §5).
type Group struct {
	Semantics string // e.g. "BUNDLE"
	MIDs      []string
}

// Attributes are those that may stand at session and at media level.
type Attributes struct {
	Direction    Direction // DirUnset: not given
	ICEUfrag     string
	ICEPwd       string // secret
	ICEOptions   []string
	Fingerprints []Fingerprint
	Setup        Setup // empty: not given
	TLSID        string
	Extmaps      []Extmap
	Other        []Attribute
}

// Media is one m= line with what belongs to it (RFC 8866 §5.14).
type Media struct {
	Type       string   // "audio", "video", "application" ...
	Port       uint16   // 0: rejected or disabled
	PortCount  uint16   // 0 or 1: one port
	Proto      string   // e.g. "UDP/TLS/RTP/SAVPF"
	Formats    []string // as in the m= line; for RTP the payload types
	Connection *Connection
	Bandwidth  []Bandwidth
	Attributes

	MID             string
	Codecs          []codec.Codec // RTP only: one per format in order; Name is empty when nothing tells what the payload type is
	Ptime           uint32        // ms; 0: not given
	MaxPtime        uint32        // ms; 0: not given
	RTCP            *RTCP
	RTCPMux         bool
	RTCPMuxOnly     bool
	RTCPRsize       bool
	Candidates      []Candidate
	EndOfCandidates bool
	Msids           []Msid
	SSRCs           []SSRC
	Cryptos         []Crypto
}

// RTCP is a=rtcp (RFC 3605 §2.1).
type RTCP struct {
	Port uint16
	Addr Address // zero: that of c=
}

// Msid is a=msid (RFC 8830 §2).
type Msid struct{ Stream, Track string }

// SSRC is a=ssrc (RFC 5576 §4.1).
type SSRC struct {
	ID    uint32
	Name  string // attribute, e.g. "cname"
	Value string
}

// Extmap is a=extmap (RFC 8285 §5).
type Extmap struct {
	ID        uint16
	Direction Direction // DirUnset: not given
	URI       string
	Params    string
}

// Crypto is a=crypto (RFC 4568 §4). KeyParams is a secret.
type Crypto struct {
	Tag       uint32
	Suite     string
	KeyParams string
	Params    string
}

// Fingerprint is a=fingerprint (RFC 8122 §5): Hash in lower case, Value in upper-case hex bytes separated by colons.
type Fingerprint struct{ Hash, Value string }

// Setup is a=setup (RFC 4145 §4).
type Setup string

// Values of Setup.
const (
	SetupActive   Setup = "active"
	SetupPassive  Setup = "passive"
	SetupActpass  Setup = "actpass"
	SetupHoldconn Setup = "holdconn"
)

// Candidate is a=candidate (RFC 8839 §5.1). Extensions other than tcptype are dropped.
type Candidate struct {
	Foundation string
	Component  uint16
	Transport  string // lower case: "udp", "tcp"
	Priority   uint32
	Host       string // IP literal, or a name such as "xyz.local"
	Port       uint16
	Type       string // "host", "srflx", "prflx", "relay" or what the peer calls it
	RelHost    string // raddr; empty: none
	RelPort    uint16
	TCPType    string
}

// IP returns the candidate's address; invalid when Host is a name.
func (c Candidate) IP() netip.Addr {
	ip, err := netip.ParseAddr(c.Host)
	if err != nil || ip.Zone() != "" {
		return netip.Addr{}
	}
	return ip
}

// IsRTP reports whether the m= line carries RTP.
func (m *Media) IsRTP() bool { return isRTP(m.Proto) }

func isRTP(proto string) bool {
	_, last, ok := strings.Cut(proto, "RTP/")
	return ok && (last == "AVP" || last == "AVPF" || last == "SAVP" || last == "SAVPF")
}

// Bundle returns the mids of the first BUNDLE group; nil: none.
func (d *Description) Bundle() []string {
	for _, g := range d.Groups {
		if g.Semantics == "BUNDLE" {
			return g.MIDs
		}
	}
	return nil
}

// ConnectionOf returns the address that holds for m: its own c= line or that of the session level. Zero: none.
func (d *Description) ConnectionOf(m *Media) Address {
	switch {
	case m.Connection != nil:
		return m.Connection.Addr
	case d.Connection != nil:
		return d.Connection.Addr
	}
	return Address{}
}

// DirectionOf returns the direction that holds for m; sendrecv when none is given (RFC 8866 §6.7).
func (d *Description) DirectionOf(m *Media) Direction {
	switch {
	case m.Direction != DirUnset:
		return m.Direction
	case d.Direction != DirUnset:
		return d.Direction
	}
	return SendRecv
}

// CredentialsOf returns the ICE credentials that hold for m (RFC 8839 §5.4).
func (d *Description) CredentialsOf(m *Media) (ufrag, pwd string) {
	ufrag, pwd = m.ICEUfrag, m.ICEPwd
	if ufrag == "" {
		ufrag = d.ICEUfrag
	}
	if pwd == "" {
		pwd = d.ICEPwd
	}
	return ufrag, pwd
}

// FingerprintsOf returns the fingerprints that hold for m: its own, else those of the session level (RFC 8122 §5).
func (d *Description) FingerprintsOf(m *Media) []Fingerprint {
	if len(m.Fingerprints) > 0 {
		return m.Fingerprints
	}
	return d.Fingerprints
}

// SetupOf returns the setup attribute that holds for m; empty: none.
func (d *Description) SetupOf(m *Media) Setup {
	if m.Setup != "" {
		return m.Setup
	}
	return d.Setup
}

// TLSIDOf returns the tls-id that holds for m; empty: none.
func (d *Description) TLSIDOf(m *Media) string {
	if m.TLSID != "" {
		return m.TLSID
	}
	return d.TLSID
}
