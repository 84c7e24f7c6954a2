// Package srtp protects and opens RTP and RTCP in place: RTP under AES-GCM by itself, all else over pion's contexts. Floor 1. // hot
// Owner: the worker of the termination; a Sender and a Receiver belong to one worker each and are not safe for concurrent use.
// RFC 3711, RFC 7714, RFC 5764 §4.2.
package srtp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bucket"
	view "github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

const (
	// ReplayWindow is the width of the replay window, packets; RFC 3711 §3.3.2 asks for 64 at least.
	ReplayWindow = 128
	// Overhead is the most that protection adds to a packet, bytes: tag 16 and SRTCP index 4 (RFC 7714 §13), with some to spare.
	Overhead = 32
	// maxSources bounds the authenticated SSRCs that a Receiver keeps replay state for, 32 octets each, with pion some 200. One audio stream needs one;
	// a peer that takes another with each hold, transfer or announcement gets far in a long call.
	maxSources = 256
	minRTP     = 12
	minRTCP    = 8
)

// Results of opening a packet.
var (
	ErrAuth   = errors.New("srtp: authentication failed")
	ErrReplay = errors.New("srtp: replayed")
	ErrFormat = errors.New("srtp: malformed")
	ErrSpent  = errors.New("srtp: key used up") // for this packet: its keystream has been used, or may have been (RFC 3711 §9.1), or there is none left (§9.2)
)

// Profile is a protection profile in the wire form of RFC 5764 §4.1.2.
type Profile uint16

// The profiles.
const (
	AES128GCM       Profile = 0x0007 // RFC 7714 §14.2
	AES256GCM       Profile = 0x0008 // RFC 7714 §14.2
	AES128CMSHA1_80 Profile = 0x0001
	AES128CMSHA1_32 Profile = 0x0002 // only with keys from signalling: a tag of 32 bits (RFC 4568 §6.2.2)
)

// Known reports whether p is one of ours.
func (p Profile) Known() bool { return p.Suite() != "" }

// String is the registered name.
func (p Profile) String() string {
	switch p {
	case AES128GCM:
		return "SRTP_AEAD_AES_128_GCM"
	case AES256GCM:
		return "SRTP_AEAD_AES_256_GCM"
	case AES128CMSHA1_80:
		return "SRTP_AES128_CM_HMAC_SHA1_80"
	case AES128CMSHA1_32:
		return "SRTP_AES128_CM_HMAC_SHA1_32"
	}
	return "unknown"
}

func (p Profile) pion() srtp.ProtectionProfile { return srtp.ProtectionProfile(p) }

// Exporter derives keying material from a finished DTLS handshake (RFC 5705).
type Exporter interface {
	ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error)
}

// Keys are the master keys and salts of both directions. They are secret and never printed.
type Keys struct {
	localKey, localSalt, remoteKey, remoteSalt []byte
}

// String hides the keys from formatting.
func (Keys) String() string { return "srtp.Keys(hidden)" }

// ExportKeys derives the keys of an association (RFC 5764 §4.2). client: our DTLS role.
func ExportKeys(e Exporter, p Profile, client bool) (Keys, error) {
	if !p.Known() {
		return Keys{}, fmt.Errorf("srtp: profile %#04x not supported", uint16(p))
	}
	cfg := srtp.Config{Profile: p.pion()}
	if err := cfg.ExtractSessionKeysFromDTLS(e, client); err != nil {
		return Keys{}, fmt.Errorf("srtp: export keys: %w", err)
	}
	k := cfg.Keys
	return Keys{k.LocalMasterKey, k.LocalMasterSalt, k.RemoteMasterKey, k.RemoteMasterSalt}, nil
}

// Sender protects what we send.
type Sender struct {
	aead aead // of RTP; none: ctx does it
	sent sources
	ctx  *srtp.Context
	rtp  rtp.Header
	rtcp rtcp.Header
}

// Receiver opens what the peer sent.
type Receiver struct {
	aead    aead // of RTP; none: ctx does it
	sources sources
	mki     []byte // before the tag of each packet (RFC 3711 §3.1); empty: none
	tags    [2]int // of SRTP and SRTCP, octets, as far as they stand behind the MKI

	ctx     *srtp.Context
	rtp     rtp.Header
	rtcp    rtcp.Header
	reports reporters

	strangers bucket.Bucket // packets of unknown SSRCs that may fail
	clock     func() int64  // monotonic ns
}

// reporters are authenticated SSRCs of RTCP, at most maxSources, the newest first. Each costs state that pion never frees.
type reporters []uint32

// take reports whether ssrc may be authenticated, and whether it has been before; then it is the first.
func (s reporters) take(ssrc uint32) (known, room bool) {
	for i, x := range s {
		if x == ssrc {
			s[0], s[i] = x, s[0]
			return true, true
		}
	}
	return false, len(s) < maxSources
}

// add notes that ssrc has been authenticated.
func (s *reporters) add(ssrc uint32) {
	*s = append(*s, ssrc)
	last := len(*s) - 1
	(*s)[0], (*s)[last] = ssrc, (*s)[0]
}

// NewPair makes the contexts of both directions.
func NewPair(p Profile, k Keys) (*Sender, *Receiver, error) {
	if !p.Known() {
		return nil, nil, fmt.Errorf("srtp: profile %#04x not supported", uint16(p))
	}
	tx, err := newSender(p, k.localKey, k.localSalt)
	if err != nil {
		return nil, nil, err
	}
	rx, err := newReceiver(p, k.remoteKey, k.remoteSalt)
	if err != nil {
		return nil, nil, err
	}
	return tx, rx, nil
}

// ProtectRTP encrypts the RTP packet b in place and returns it with its tag. b needs Overhead bytes of spare capacity, else it moves
// to new memory. A packet may be late by less than ReplayWindow, once; one that is later, or comes twice, is refused, since a keystream that is used twice
// gives both packets away, and with AES-GCM the key of the tags (RFC 7714 §8.4). Errors: ErrFormat, ErrSpent.
func (s *Sender) ProtectRTP(b []byte) ([]byte, error) {
	p, err := view.ParseHeader(b)
	if err != nil {
		return nil, ErrFormat
	}
	if ssrc := p.SSRC(); !s.sent.take(ssrc) {
		s.sent.add(source{ssrc: ssrc})
	}
	x := &s.sent.newest
	index := x.guess(p.Seq())
	if index >= indexEnd || x.replayed(index) {
		return nil, ErrSpent
	}
	x.accept(index)
	if s.aead.gcm != nil {
		return s.aead.seal(p, index), nil
	}
	out, err := s.ctx.EncryptRTP(b[:0], b, &s.rtp)
	if err != nil {
		return nil, ErrSpent
	}
	return out, nil
}

// ProtectRTCP is ProtectRTP for a compound or reduced-size RTCP packet.
func (s *Sender) ProtectRTCP(b []byte) ([]byte, error) {
	out, err := s.ctx.EncryptRTCP(b[:0], b, &s.rtcp)
	if err != nil {
		return nil, ErrSpent
	}
	return out, nil
}

// OpenRTP authenticates and decrypts the SRTP packet b in place. On an error b's content is undefined and must be dropped.
// Errors: ErrAuth, also for another MKI and for an SSRC that is not known while too many such fail, ErrReplay, ErrFormat.
func (r *Receiver) OpenRTP(b []byte) ([]byte, error) {
	if len(b) < minRTP {
		return nil, ErrFormat
	}
	b, ok := r.strip(b, minRTP, r.tags[0])
	if !ok {
		return nil, ErrAuth
	}
	ssrc := binary.BigEndian.Uint32(b[8:12])
	known := r.sources.take(ssrc)
	if !known && (r.sources.len() >= maxSources || r.Heard() && !r.strangers.Holds(r.clock(), 1)) {
		return nil, ErrAuth
	}
	if known {
		return r.open(b, &r.sources.newest)
	}
	x := source{ssrc: ssrc}
	out, err := r.open(b, &x)
	if err != nil {
		if r.Heard() { // before, nothing was asked of the ration, and there must be no debt
			r.strangers.Take(1)
		}
		return nil, err
	}
	x.known = true
	r.sources.add(x)
	return out, nil
}

// open is OpenRTP of a source, whose state moves when the packet is authentic.
func (r *Receiver) open(b []byte, x *source) ([]byte, error) {
	if r.aead.gcm == nil {
		out, err := r.ctx.DecryptRTP(b[:0], b, &r.rtp)
		if err != nil {
			return nil, classify(err)
		}
		return out, nil
	}
	p, err := view.ParseHeader(b)
	if err != nil || len(p)-p.HeaderLen() < tagLen {
		return nil, ErrFormat
	}
	index := x.guess(p.Seq())
	switch {
	case index >= indexEnd:
		return nil, ErrAuth
	case x.replayed(index):
		return nil, ErrReplay
	}
	out, err := r.aead.open(p, index)
	if err != nil {
		return nil, err
	}
	x.accept(index)
	return out, nil
}

// OpenRTCP is OpenRTP for SRTCP.
func (r *Receiver) OpenRTCP(b []byte) ([]byte, error) {
	if len(b) < minRTCP {
		return nil, ErrFormat
	}
	b, ok := r.strip(b, minRTCP, r.tags[1])
	if !ok {
		return nil, ErrAuth
	}
	ssrc := binary.BigEndian.Uint32(b[4:8])
	known, room := r.reports.take(ssrc)
	if !room || !known && r.Heard() && !r.strangers.Holds(r.clock(), 1) {
		return nil, ErrAuth
	}
	out, err := r.ctx.DecryptRTCP(b[:0], b, &r.rtcp)
	if err != nil {
		if !known && r.Heard() { // before, nothing was asked of the ration, and there must be no debt
			r.strangers.Take(1)
		}
		return nil, classify(err)
	}
	if !known {
		r.reports.add(ssrc)
	}
	return out, nil
}

// Heard reports whether any packet was authentic: the peer has the keys.
func (r *Receiver) Heard() bool { return r.sources.newest.known || len(r.reports) > 0 }

// classify turns pion's errors into ours. Its replay error is a private type; the sentinel that it wraps has this constant text.
func classify(err error) error {
	if errors.Is(err, srtp.ErrFailedToVerifyAuthTag) {
		return ErrAuth
	}
	if u := errors.Unwrap(err); u != nil && u.Error() == "duplicated packet" {
		return ErrReplay
	}
	return ErrFormat
}
