package headers

import (
	"strconv"
	"strings"
)

// SessionExpires is the value of a Session-Expires field (RFC 4028 §4).
type SessionExpires struct {
	Seconds   uint32
	Refresher string // "uac", "uas" or "": not given
}

// ParseSessionExpires parses the value of a Session-Expires field. Other parameters are dropped.
func ParseSessionExpires(s string) (SessionExpires, error) {
	digits, rest, _ := strings.Cut(s, ";")
	n, err := number(trim(digits))
	if err != nil {
		return SessionExpires{}, syntax("Session-Expires", s)
	}
	out := SessionExpires{Seconds: n}
	if rest == "" {
		return out, nil
	}
	p, err := ParseParams(";" + rest)
	if err != nil {
		return SessionExpires{}, err
	}
	switch r := strings.ToLower(p.Value("refresher")); r {
	case "", "uac", "uas":
		out.Refresher = r
	default:
		return SessionExpires{}, syntax("refresher", s)
	}
	return out, nil
}

// String returns the value as on the wire.
func (e SessionExpires) String() string {
	s := strconv.FormatUint(uint64(e.Seconds), 10)
	if e.Refresher != "" {
		s += ";refresher=" + e.Refresher
	}
	return s
}

// MinSE returns the value of Min-SE in seconds and whether a valid one is there (RFC 4028 §5). Parameters are dropped.
func MinSE(m *Msg) (uint32, bool) {
	digits, _, _ := strings.Cut(m.Get("Min-SE"), ";")
	n, err := number(trim(digits))
	return n, err == nil
}
