package load

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net"
	"net/netip"

	"github.com/pion/stun/v4"
)

// peer is the ICE state of a browser end towards one candidate: a full agent in the controlling role (RFC 8445 §6.1.1) that has nothing
// to choose from.
type peer struct {
	ufrag, pwd             string // ours
	remoteUfrag, remotePwd string
}

func newPeer() peer {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	s := base64.RawStdEncoding.EncodeToString(b[:])
	return peer{ufrag: s[:8], pwd: s[8:]}
}

// attribute is one STUN attribute of fixed content.
type attribute struct {
	kind  stun.AttrType
	value []byte
}

// AddTo implements stun.Setter.
func (a attribute) AddTo(m *stun.Message) error { m.Add(a.kind, a.value); return nil }

// check is a nominating connectivity check (RFC 8445 §7.2.2); sent again later it keeps consent fresh (RFC 7675 §5.1).
func (p *peer) check() ([]byte, error) {
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(p.remoteUfrag+":"+p.ufrag),
		attribute{stun.AttrPriority, []byte{0x6e, 0xff, 0xff, 0xff}}, attribute{stun.AttrICEControlling, []byte("isthmus!")},
		attribute{stun.AttrUseCandidate, nil}, stun.NewShortTermIntegrity(p.remotePwd), stun.Fingerprint)
	if err != nil {
		return nil, err
	}
	return m.Raw, nil
}

var errSTUN = errors.New("load: STUN message that is not of this call")

// handle takes a STUN message. reply: what to send back; succeeded: it is the success response to a check of ours.
func (p *peer) handle(b []byte, from netip.AddrPort) (reply []byte, succeeded bool, err error) {
	m := &stun.Message{Raw: append([]byte(nil), b...)}
	if err := m.Decode(); err != nil {
		return nil, false, err
	}
	switch m.Type {
	case stun.BindingSuccess:
		return nil, true, stun.NewShortTermIntegrity(p.remotePwd).Check(m)
	case stun.BindingRequest:
		var name stun.Username
		if err := name.GetFrom(m); err != nil || name.String() != p.ufrag+":"+p.remoteUfrag {
			return nil, false, errSTUN
		}
		if err := stun.NewShortTermIntegrity(p.pwd).Check(m); err != nil {
			return nil, false, err
		}
		r, err := stun.Build(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
			&stun.XORMappedAddress{IP: net.IP(from.Addr().AsSlice()), Port: int(from.Port())}, stun.NewShortTermIntegrity(p.pwd), stun.Fingerprint)
		if err != nil {
			return nil, false, err
		}
		return r.Raw, false, nil
	}
	return nil, false, errSTUN
}
