package load

import (
	"net/netip"
	"testing"

	"github.com/pion/stun/v4"
)

func TestChecksAndAnswersAreAuthenticated(t *testing.T) {
	a, b := newPeer(), newPeer()
	a.remoteUfrag, a.remotePwd, b.remoteUfrag, b.remotePwd = b.ufrag, b.pwd, a.ufrag, a.pwd
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	check, err := a.check()
	if err != nil {
		t.Fatal(err)
	}
	reply, _, err := b.handle(check, from)
	if err != nil || reply == nil {
		t.Fatalf("an authentic check is not answered: %v", err)
	}
	var mapped stun.XORMappedAddress
	m := &stun.Message{Raw: reply}
	if err := m.Decode(); err != nil || mapped.GetFrom(m) != nil || mapped.Port != 4000 {
		t.Errorf("mapped address %v, %v", mapped, err)
	}
	if _, ok, err := a.handle(reply, from); !ok || err != nil {
		t.Errorf("an authentic answer is refused: %v", err)
	}
	b.pwd = "another-password-than-told"
	if reply, _, err := b.handle(check, from); err == nil || reply != nil {
		t.Error("a check with another password is answered")
	}
	a.remotePwd = b.pwd
	if _, _, err := a.handle(reply, from); err == nil {
		t.Error("an answer with another password is taken")
	}
	b.ufrag = "otherone"
	if _, _, err := b.handle(check, from); err == nil {
		t.Error("a check for another end is answered")
	}
}
