package headers

import (
	"strconv"
	"strings"
)

// RAck is the value of a RAck field: the reliable provisional response that a PRACK acknowledges (RFC 3262 §7.2).
type RAck struct {
	RSeq   uint32 // of the response; 1 to 2^32-1
	CSeq   uint32 // of the request that was answered
	Method string // of that request
}

// ParseRAck parses the value of a RAck field.
func ParseRAck(s string) (RAck, error) {
	f := strings.Fields(s)
	if len(f) != 3 || !isToken(f[2]) {
		return RAck{}, syntax("RAck", s)
	}
	rseq, err := number(f[0])
	if err != nil || rseq == 0 {
		return RAck{}, syntax("RAck response number", s)
	}
	cseq, err := number(f[1])
	if err != nil || cseq >= 1<<31 {
		return RAck{}, syntax("RAck sequence number", s)
	}
	return RAck{RSeq: rseq, CSeq: cseq, Method: f[2]}, nil
}

// String returns the value as on the wire.
func (r RAck) String() string {
	return strconv.FormatUint(uint64(r.RSeq), 10) + " " + strconv.FormatUint(uint64(r.CSeq), 10) + " " + r.Method
}

// RSeq returns the number of a reliable provisional response, 0 when m is none: it needs Require: 100rel and a valid RSeq
// (RFC 3262 §3, §7.1).
func RSeq(m *Msg) uint32 {
	if m.Status <= 100 || m.Status > 199 || !HasToken(m, "Require", "100rel") {
		return 0
	}
	n, err := number(m.Get("RSeq"))
	if err != nil {
		return 0
	}
	return n
}

// number reads digits into 32 bits.
func number(s string) (uint32, error) {
	if s == "" || len(s) > 10 {
		return 0, syntax("number", s)
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, syntax("number", s)
		}
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, syntax("number", s)
	}
	return uint32(n), nil
}
