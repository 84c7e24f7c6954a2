package ice

import (
	"bytes"
	"crypto/hmac"
	"encoding/binary"
	"hash"
	"net/netip"
)

// serve judges a check and answers it (RFC 8445 §7.3, RFC 8489 §6.3.1, §9.1.3). What is not authentic gets no answer: whoever does not
// know the password has no use for one, and its source may be another's. Caller holds mu.
func (a *Agent) serve(b []byte, src netip.AddrPort) Verdict {
	known := a.pathOf(src)
	if known < 0 && len(a.paths) == maxPaths {
		return Full
	}
	r, ok := parseRequest(b)
	if !ok || !bytes.Equal(r.user, a.user) || !authentic(a.mac, b, r.integrity) {
		return Delivered
	}
	switch {
	case len(r.unknown) > 0:
		a.reply(b, src, unknownAttributes(r.unknown))
		return Delivered
	case a.full == nil && r.controlled, a.full != nil && !a.settleRole(r):
		// A lite agent is controlled whenever the peer is not lite (RFC 8445 §6.1.1): the peer has to change.
		a.reply(b, src, errorCode(roleConflict, "Role Conflict"))
		return Delivered
	}
	if known < 0 {
		known = len(a.paths)
		a.paths = append(a.paths, remote{src, r.priority})
	}
	var p *pair
	switch {
	case a.full != nil:
		p = a.request(r, src)
	case r.nominated:
		a.selected = src // the latest nomination wins (RFC 8445 §8.1.1)
	}
	a.cfg.Mux.answered.Add(1)
	a.cfg.Checked(Check{From: src, Nominated: src == a.selected, Priority: a.paths[known].priority})
	a.reply(b, src, mappedAddress(src))
	if p != nil {
		a.triggered(p, a.cfg.Mux.clock())
	}
	return Delivered
}

// authentic checks the MESSAGE-INTEGRITY at offset at: over all before it, with a header that says it were the last attribute (RFC 8489 §14.5).
func authentic(mac hash.Hash, b []byte, at int) bool {
	return hmac.Equal(sign(mac, b[:at]), b[at+4:at+4+integrityLen])
}

// sign is the MESSAGE-INTEGRITY to be put behind b.
func sign(mac hash.Hash, b []byte) []byte {
	var head [4]byte
	copy(head[:], b)
	binary.BigEndian.PutUint16(head[2:], uint16(len(b)-stunHeader+4+integrityLen))
	mac.Reset()
	mac.Write(head[:])
	mac.Write(b[4:])
	return mac.Sum(nil)
}

// reply answers request b with one attribute, signed. An answer that is lost is asked for again.
func (a *Agent) reply(b []byte, to netip.AddrPort, attr attribute) {
	out := make([]byte, stunHeader, 128)
	binary.BigEndian.PutUint16(out, attr.class)
	copy(out[4:], b[4:stunHeader]) // magic cookie and transaction
	if attr.typ == attrXORMapped {
		xor(attr.value[2:], out[4:stunHeader])
	}
	out = put(out, attr.typ, attr.value)
	if attr.second != nil {
		out = put(out, attrUnknown, attr.second)
	}
	out = put(out, attrIntegrity, sign(a.mac, out))
	_ = a.cfg.Mux.send(putFingerprint(out), to)
}

// attribute is what a response carries.
type attribute struct {
	class  uint16 // message type of the response
	typ    uint16
	value  []byte
	second []byte // of UNKNOWN-ATTRIBUTES; nil: none
}

// mappedAddress tells the peer its address; the value is not XORed yet (RFC 8489 §14.2).
func mappedAddress(a netip.AddrPort) attribute {
	v := binary.BigEndian.AppendUint16([]byte{0, 1}, a.Port())
	if a.Addr().Is6() {
		v[1] = 2
	}
	return attribute{class: bindingSuccess, typ: attrXORMapped, value: append(v, a.Addr().AsSlice()...)}
}

// xor is that of XOR-MAPPED-ADDRESS: the port with the cookie's first half, the address with cookie and transaction.
func xor(v, key []byte) {
	v[0] ^= key[0]
	v[1] ^= key[1]
	for i := range v[2:] {
		v[2+i] ^= key[i]
	}
}

func errorCode(code int, reason string) attribute {
	return attribute{class: bindingError, typ: attrErrorCode, value: append([]byte{0, 0, byte(code / 100), byte(code % 100)}, reason...)}
}

// unknownAttributes is the refusal of RFC 8489 §6.3.1.
func unknownAttributes(types []uint16) attribute {
	e := errorCode(unknownAttribute, "Unknown Attribute")
	for _, t := range types {
		e.second = binary.BigEndian.AppendUint16(e.second, t)
	}
	return e
}

// put appends an attribute, padded, and keeps the length in the header (RFC 8489 §14).
func put(b []byte, typ uint16, v []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
	b = append(b, v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeader))
	return b
}
