// Package rtcp ends RTCP on each leg: it reads what the peer reports and writes reports of our own stream. Nothing is relayed. Floor 1. // hot
// Owner: the worker of the leg; no goroutine, no clock, no allocation after New; not safe for concurrent use.
// RFC 3550 §6, §A.1, §A.2, §A.3, §A.7, §A.8; RFC 5506 for reduced size; RFC 3611 for extended reports.
package rtcp

import (
	"encoding/binary"
	"errors"
)

// Packet types (RFC 3550 §12.1, RFC 4585 §6.1, RFC 3611 §2).
const (
	typeSR    = 200
	typeRR    = 201
	typeSDES  = 202
	typeBYE   = 203
	typeAPP   = 204
	typeRTPFB = 205
	typePSFB  = 206
	typeXR    = 207

	version   = 2
	headLen   = 4  // common header, bytes
	blockLen  = 24 // report block
	senderLen = 20 // sender information of an SR
)

// Sentinel results of Parse. They carry no packet content.
var (
	ErrShort    = errors.New("rtcp: shorter than a header")
	ErrVersion  = errors.New("rtcp: version is not 2")
	ErrLength   = errors.New("rtcp: lengths do not add up")
	ErrPadding  = errors.New("rtcp: padding misplaced or too long")
	ErrCompound = errors.New("rtcp: compound does not begin with a report")
)

// Block is one report block (RFC 3550 §6.4.1): how a receiver gets the stream of SSRC.
type Block struct {
	SSRC     uint32
	Fraction uint8  // lost since the last report, of 256
	Lost     int32  // in total, 24 bits signed: duplicates count against it
	ExtSeq   uint32 // highest sequence number, extended
	Jitter   uint32 // ticks
	LSR      uint32 // middle of the NTP time of our last report, 0: none
	DLSR     uint32 // delay since it came in, 1/65536 s
}

// Info is what one datagram said, as far as the gateway cares.
type Info struct {
	Sender    uint32 // SSRC of the first packet
	SR        bool   // NTP, RTPTS, Packets, Octets hold
	NTP       uint64 // 32.32 s since 1900
	RTPTS     uint32
	Packets   uint32
	Octets    uint32
	Reported  bool // Block holds: the peer reports on our stream
	Block     Block
	Bye       bool // the sender leaves
	Feedback  int  // RTPFB and PSFB packets: of no use for audio, dropped
	Extension int  // APP and unknown packets: dropped

	Measured    bool // VoIP holds: the peer's VoIP metrics of our stream (RFC 3611 §4.7)
	VoIP        VoIP
	Reference   uint64 // NTP time of a receiver, and who told it (RFC 3611 §4.4); 0: none
	ReferenceOf uint32
	LRR, DLRR   uint32 // middle of our reference time that the peer had, and the delay since, 1/65536 s (RFC 3611 §4.5); LRR 0: none

	// Others tells that the datagram is neither about our stream nor of its source, but of others on the same transport.
	Others bool

	among  bool // several streams share the transport: only a sender report of source is of interest
	source uint32
}

// Parse reads a whole datagram b into info, which is overwritten. ours: SSRC whose report block is wanted. reduced: a datagram
// need not begin with SR or RR (RFC 5506 §3). b of any content is safe; work and memory are bounded by its length.
// Errors: ErrShort, ErrVersion, ErrLength, ErrPadding, ErrCompound; info is then partly filled and must not be used.
func Parse(b []byte, ours uint32, reduced bool, info *Info) error {
	*info = Info{Others: info.among, among: info.among, source: info.source}
	if len(b) < headLen {
		return ErrShort
	}
	if t := b[1]; !reduced && t != typeSR && t != typeRR {
		return ErrCompound
	}
	for first := true; len(b) > 0; first = false {
		p, rest, err := split(b)
		if err != nil {
			return err
		}
		if first && len(p) >= headLen+4 {
			info.Sender = binary.BigEndian.Uint32(p[4:])
		}
		if err := info.packet(p, ours); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// split cuts the first packet off the compound and removes its padding (RFC 3550 §A.2: only the last one may have any).
func split(b []byte) (p, rest []byte, err error) {
	if len(b) < headLen {
		return nil, nil, ErrLength
	}
	if b[0]>>6 != version {
		return nil, nil, ErrVersion
	}
	n := headLen + 4*int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b) {
		return nil, nil, ErrLength
	}
	p, rest = b[:n], b[n:]
	if b[0]&0x20 == 0 {
		return p, rest, nil
	}
	pad := int(p[n-1])
	if len(rest) > 0 || pad == 0 || pad%4 != 0 || pad > n-headLen {
		return nil, nil, ErrPadding
	}
	return p[:n-pad], rest, nil
}

// packet reads one packet of the compound.
func (i *Info) packet(p []byte, ours uint32) error {
	count := int(p[0] & 0x1f)
	switch p[1] {
	case typeSR:
		if len(p) < headLen+4+senderLen+count*blockLen {
			return ErrLength
		}
		if !i.among || i.ofSource(p) {
			i.SR = true
			i.NTP = binary.BigEndian.Uint64(p[8:])
			i.RTPTS = binary.BigEndian.Uint32(p[16:])
			i.Packets = binary.BigEndian.Uint32(p[20:])
			i.Octets = binary.BigEndian.Uint32(p[24:])
		}
		i.blocks(p[headLen+4+senderLen:], count, ours)
	case typeRR:
		if len(p) < headLen+4+count*blockLen {
			return ErrLength
		}
		i.ofSource(p)
		i.blocks(p[headLen+4:], count, ours)
	case typeSDES:
		// One peer per leg: its name changes nothing.
	case typeBYE:
		if len(p) < headLen+4*count {
			return ErrLength
		}
		i.bye(p[headLen:], count)
	case typeRTPFB, typePSFB:
		if len(p) < headLen+8 {
			return ErrLength
		}
		i.Feedback++
	case typeXR:
		return i.extension(p, ours)
	default:
		i.Extension++
	}
	return nil
}

// ofSource reports whether the source of our stream is the sender of a report.
func (i *Info) ofSource(p []byte) bool {
	of := binary.BigEndian.Uint32(p[headLen:]) == i.source
	i.Others = i.Others && !of
	return of
}

// bye takes a BYE as the peer's when it names the sender of the compound.
func (i *Info) bye(p []byte, count int) {
	for ; count > 0; count, p = count-1, p[4:] {
		if binary.BigEndian.Uint32(p) == i.Sender {
			i.Bye = true
		}
	}
}

// blocks looks for the report on our stream.
func (i *Info) blocks(p []byte, count int, ours uint32) {
	for ; count > 0; count, p = count-1, p[blockLen:] {
		if ssrc := binary.BigEndian.Uint32(p); ssrc == ours {
			i.Reported, i.Others = true, false
			i.Block = readBlock(p)
		}
	}
}

func readBlock(p []byte) Block {
	lost := binary.BigEndian.Uint32(p[4:])
	return Block{
		SSRC:     binary.BigEndian.Uint32(p),
		Fraction: p[4],
		Lost:     int32(lost<<8) >> 8,
		ExtSeq:   binary.BigEndian.Uint32(p[8:]),
		Jitter:   binary.BigEndian.Uint32(p[12:]),
		LSR:      binary.BigEndian.Uint32(p[16:]),
		DLSR:     binary.BigEndian.Uint32(p[20:]),
	}
}
