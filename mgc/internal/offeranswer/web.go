package offeranswer

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// maxCandidates bounds what of a browser's candidates is kept; a lite agent of ours needs none.
const maxCandidates = 32

// take reads the WebRTC transport of a browser's description. The DTLS role is kept as long as the association is (RFC 8842 §5).
func (w *Web) take(d *sdp.Description, a *sdp.Media, answer bool, mux RTCPMux) (ch Change, err error) {
	if !strings.HasSuffix(a.Proto, "RTP/SAVPF") && !strings.HasSuffix(a.Proto, "RTP/SAVP") {
		return ch, unacceptable(302, "transport protocol %s", printable(a.Proto))
	}
	t := transportOf(d, a)
	component2 := !a.RTCPMux && !a.RTCPMuxOnly
	if err := w.muxPolicy(component2, answer, mux); err != nil {
		return ch, err
	}
	ufrag, pwd := d.CredentialsOf(t)
	if ufrag == "" || pwd == "" {
		return ch, unacceptable(399, "no ICE credentials")
	}
	prints := strong(d.FingerprintsOf(t))
	if len(prints) == 0 {
		return ch, unacceptable(399, "no fingerprint with SHA-256 or better")
	}
	ch.ICERestart = w.Ufrag != "" && (ufrag != w.Ufrag || pwd != w.Pwd)
	ch.NewDTLS = len(w.Fingerprints) > 0 && (!samePrints(prints, w.Fingerprints) || d.TLSIDOf(t) != w.TLSID)
	role, err := w.role(d.SetupOf(t), answer, &ch)
	if err != nil {
		return ch, err
	}
	if answer && d.ICELite && !w.Full {
		return ch, errBothLite
	}
	n := *w
	n.Offerer = w.Offerer || w.Ufrag == "" && answer // for ever: roles outlive restarts (RFC 8445 §6.1.1)
	n.PeerLite = d.ICELite
	n.Role, n.Ufrag, n.Pwd, n.Fingerprints, n.TLSID = role, ufrag, pwd, prints, d.TLSIDOf(t)
	n.Component2 = component2
	n.Candidates, n.EndOfCands = candidates(t, component2), t.EndOfCandidates
	n.Bundle = a.MID != "" && slices.Contains(d.Bundle(), a.MID)
	n.Rsize = a.RTCPRsize
	if ch.ICERestart && !answer {
		n.LocalUfrag, n.LocalPwd, n.LocalCands = "", "", nil // both sides change (RFC 8445 §9)
	}
	if ch.NewDTLS && !answer && n.LocalTLSID != "" {
		n.LocalTLSID = nextTLSID(n.LocalTLSID) // RFC 8842 §5.3: the answerer's changes with the association too
	}
	*w = n
	return ch, nil
}

// errBothLite refuses what cannot connect: no side checks. The peer would have to be full towards a lite agent (RFC 8445 §2.5), or ours to be.
var errBothLite = unacceptable(399, "ICE lite on both sides")

// controlling reports our role in full ICE: of the offerer, or towards a lite peer (RFC 8445 §6.1.1). Before the peer's description we are to offer.
func (w *Web) controlling() bool { return w.PeerLite || w.Offerer || w.Ufrag == "" }

// nextTLSID derives the tls-id of the next association; it has to be unique, not secret (RFC 8842 §4).
func nextTLSID(old string) string {
	sum := sha256.Sum256([]byte("tls-id " + old))
	return hex.EncodeToString(sum[:16])
}

// role returns our DTLS role. A browser's actpass leaves it to us: passive, because a lite agent that never sends first to an
// unverified address is safer (TS 23.334 §5.11.2.4). An offer that leaves no choice but the other role asks for a new association
// (RFC 8842 §3.1).
func (w *Web) role(s sdp.Setup, answer bool, ch *Change) (sdp.Setup, error) {
	sticky := w.Role != "" && !ch.NewDTLS
	var role sdp.Setup
	switch s {
	case sdp.SetupActive:
		role = sdp.SetupPassive
	case sdp.SetupPassive:
		role = sdp.SetupActive
	case sdp.SetupActpass, "":
		if role = sdp.SetupPassive; sticky {
			role = w.Role
		}
	default:
		return "", unacceptable(399, "a=setup:%s", s)
	}
	if sticky && role != w.Role {
		if answer {
			// DEVIATES RFC 8842 §3.1: our offer has asked for no new association, and clients exist that answer every actpass alike.
			return w.Role, nil
		}
		ch.NewDTLS = true
	}
	return role, nil
}

// transportOf returns the media section whose transport a uses: its own, or the one of its BUNDLE group (RFC 9143 §7.2, §7.3.1).
func transportOf(d *sdp.Description, a *sdp.Media) *sdp.Media {
	if i := tagged(d, a); i >= 0 && d.Media[i].ICEUfrag != "" && d.Media[i].ICEUfrag != a.ICEUfrag {
		return &d.Media[i] // that of the others is not in use once they are grouped
	}
	if u, _ := d.CredentialsOf(a); u != "" || !slices.Contains(d.Bundle(), a.MID) {
		return a
	}
	for i := range d.Media {
		if m := &d.Media[i]; m.ICEUfrag != "" && slices.Contains(d.Bundle(), m.MID) {
			return m
		}
	}
	return a
}

// strong keeps the fingerprints whose hash is still trusted (RFC 8122 §5).
func strong(fs []sdp.Fingerprint) []sdp.Fingerprint {
	var out []sdp.Fingerprint
	for _, f := range fs {
		n := map[string]int{"sha-256": 32, "sha-384": 48, "sha-512": 64}[f.Hash]
		if n > 0 && len(f.Value) == n*3-1 && len(out) < 8 {
			out = append(out, f)
		}
	}
	return out
}

func samePrints(a, b []sdp.Fingerprint) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(f sdp.Fingerprint) bool { return !slices.Contains(b, f) })
}

// muxPolicy refuses a peer that does not multiplex where that cannot be served: by the policy, in an answer to an offer without a second component, and
// after it was agreed (RFC 8858 §4).
func (w *Web) muxPolicy(component2, answer bool, mux RTCPMux) error {
	switch {
	case !component2:
		return nil
	case mux != MuxNegotiate, answer && !slices.ContainsFunc(w.LocalCands, second):
		return unacceptable(399, "rtcp-mux is needed")
	case w.Ufrag != "" && !w.Component2:
		return unacceptable(399, "rtcp-mux cannot end within the session")
	}
	return nil
}

// muxed reports whether the MGW has one component only. Before the peer's description is there it has what we may need.
func (w *Web) muxed(mux RTCPMux) bool {
	if w.Ufrag == "" {
		return mux != MuxNegotiate
	}
	return !w.Component2
}

// second tells candidates of component 2.
func second(c sdp.Candidate) bool { return c.Component == 2 }

// candidates keeps UDP candidates with an IP address, of component 2 only when it is in use: names (mDNS), TCP and unknown types are ignored
// (RFC 8839 §5.1).
func candidates(m *sdp.Media, component2 bool) []sdp.Candidate {
	var out []sdp.Candidate
	for _, c := range m.Candidates {
		ok := c.Transport == "udp" && (c.Component == 1 || c.Component == 2 && component2) && c.Port != 0 && c.IP().IsValid() &&
			(c.Type == "host" || c.Type == "srflx" || c.Type == "prflx" || c.Type == "relay")
		if ok && len(out) < maxCandidates {
			if a, err := netip.ParseAddr(c.RelHost); err != nil || a.Zone() != "" || c.Type != "relay" { // the policy function asks for that of relays only
				c.RelHost, c.RelPort = "", 0
			}
			out = append(out, c)
		}
	}
	return out
}
