package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// Status says how settled the media of a call are (TS 29.514 §5.6.3.13).
type Status string

// The two statuses.
const (
	Preliminary Status = "PRELIMINARY" // offered, not answered
	Final       Status = "FINAL"       // answered
)

// Facts are what a policy function is told of a call. The package keeps no reference to it.
type Facts struct {
	Call        string     // key of the call, unique in the pool
	Status      Status     // Preliminary with an offer, Final with its answer
	UE          netip.Addr // source address of the browser's SIP messages (TS 29.213 §C.2.2)
	Application string     // ICSI; empty: the configured one
	ChargingID  string     // ICID
	SUPI        string     // "imsi-..." or "nai-..."; empty: not known
	GPSI        string     // "msisdn-..." or "extid-..."; empty: not known
	ServiceURN  string     // "urn:service:sos" and below it, or without the prefix; empty: no emergency call
	Emergency   bool       // the call is never refused for the policy function's sake
	Priority    int        // 1 to 16, the most important (resPrio, TS 29.514 §5.6.3.2): that of the call's context; 0: none
	MPS         bool       // a call of a multimedia priority service: the operator's name of that is told
	Media       []Media    // all media lines, removed ones too
	Forks       [][]Media  // media of further early dialogs of the same offer; ignored when Status is Final
}

// Direction is a media direction as the browser sees it.
type Direction uint8

// The directions.
const (
	SendRecv Direction = iota
	SendOnly           // the browser sends
	RecvOnly           // the browser receives
	Inactive
)

// Media are the facts of one media line.
type Media struct {
	Number        int       // position of the media line, from 1
	Type          string    // media of the line: "audio", "video", "text", "message", "application"; else OTHER
	Removed       bool      // port 0: refused or given up
	Direction     Direction //
	BandwidthUp   uint64    // most that the browser sends, bit/s with IP and UDP headers (b=AS); 0: not known
	BandwidthDown uint64    // most that it receives
	RTCPSenders   *uint64   // b=RS, bit/s; nil: not given
	RTCPReceivers *uint64   // b=RR, bit/s
	Codecs        []Codec   // descriptions, one per direction; more than two are ignored
	Flows         []Flow    // one when RTP and RTCP are multiplexed, else two, the second for RTCP
}

// Codec is the description of one direction (TS 29.214 §5.3.7).
type Codec struct {
	Uplink bool     // the description came from the browser
	Kind   string   // "offer", "answer" or "description"
	SDP    []string // the m= line and lines below it; only those that describe codecs are passed on, never keys
}

// Flow is one five-tuple between the browser and our media gateway.
type Flow struct {
	RTCP   bool           // carries only RTCP
	Local  netip.AddrPort // access address of the media gateway
	Remote Candidate      // selected by ICE; zero before
}

// Candidate is the browser's end of a flow as ICE selected it.
type Candidate struct {
	Type      string         // "host", "srflx", "prflx", "relay"; "": not selected yet
	Addr      netip.AddrPort // the candidate's address; of a relay candidate: that of the relay
	Related   netip.AddrPort // raddr and rport of a relay candidate: the browser as its TURN server sees it; zero or unspecified: hidden
	Server    netip.AddrPort // where the TURN server listens; zero: not known
	Transport string         // "udp" or "tcp" between browser and TURN server; "": not known
}

// check tells whether the facts can be told.
func (f *Facts) check() error {
	switch {
	case f.Call == "":
		return fmt.Errorf("%w: no call key", ErrFacts)
	case !f.UE.IsValid() || f.UE.IsUnspecified():
		return fmt.Errorf("%w: no address of the browser", ErrFacts)
	case f.Status != Preliminary && f.Status != Final:
		return fmt.Errorf("%w: status %q", ErrFacts, f.Status)
	case f.Priority < 0 || f.Priority > 16:
		return fmt.Errorf("%w: priority %d", ErrFacts, f.Priority)
	}
	seen := map[int]bool{}
	for _, m := range f.Media {
		if m.Number < 1 || seen[m.Number] {
			return fmt.Errorf("%w: media number %d", ErrFacts, m.Number)
		}
		seen[m.Number] = true
		for i, fl := range m.Flows {
			if !fl.Local.IsValid() || i > 0 && fl.RTCP == m.Flows[0].RTCP || i > 1 {
				return fmt.Errorf("%w: flow %d of media %d", ErrFacts, i, m.Number)
			}
		}
	}
	return nil
}

// urn returns the service URN without "urn:service:" (TS 29.214 §5.3.23).
func (f *Facts) urn() string {
	return strings.TrimPrefix(strings.ToLower(f.ServiceURN), "urn:service:")
}

// emergency reports whether the call must go through whatever the policy function says.
func (f *Facts) emergency() bool {
	u := f.urn()
	return f.Emergency || u == "sos" || strings.HasPrefix(u, "sos.")
}
