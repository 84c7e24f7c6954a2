package load

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// pair is two browser ends that know each other's descriptions.
type pair struct {
	ends    [2]browser
	answers [2]Answer // [i] is what end i is told about the other
	id      identity
}

func newPair(t *testing.T) *pair {
	t.Helper()
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{id: id}
	for i := range p.ends {
		s, err := openSocket(0)
		if err != nil {
			t.Fatal(err)
		}
		p.ends[i] = browser{socket: s, ice: newPeer()}
		t.Cleanup(p.ends[i].close)
	}
	for i := range p.ends {
		o := &p.ends[1-i]
		p.answers[i] = Answer{Access: o.local, Ufrag: o.ice.ufrag, Pwd: o.ice.pwd, Fingerprint: id.fingerprint, Client: i == 0}
	}
	return p
}

// connect runs both ends.
func (p *pair) connect(t *testing.T, limit time.Duration) (errs [2]error) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); errs[1] = p.ends[1].connect(ctx, &p.id, p.answers[1]) }()
	errs[0] = p.ends[0].connect(ctx, &p.id, p.answers[0])
	<-done
	return errs
}

func TestBrowserEndsSecureMedia(t *testing.T) {
	p := newPair(t)
	if errs := p.connect(t, 20*time.Second); errs[0] != nil || errs[1] != nil {
		t.Fatal(errs)
	}
	plain := append([]byte{0x80, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9}, bytes.Repeat([]byte{7}, 160)...)
	for i := range p.ends {
		var h rtp.Header
		secret, err := p.ends[i].keys.tx.EncryptRTP(nil, plain, &h)
		if err != nil || len(secret) != len(plain)+srtpTag || bytes.Contains(secret, plain[rtpHeader:rtpHeader+20]) {
			t.Fatalf("end %d: %d octets, %v", i, len(secret), err)
		}
		if got, err := p.ends[1-i].keys.rx.DecryptRTP(nil, secret, &h); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("end %d: %v", 1-i, err)
		}
	}
	if got := p.ends[0].keys.profile; !strings.Contains(got, "GCM") {
		t.Errorf("profile %q", got)
	}
}

func TestBrowserRefusesAnotherCertificate(t *testing.T) {
	p := newPair(t)
	p.answers[0].Fingerprint = strings.Repeat("00:", 31) + "00"
	if errs := p.connect(t, 3*time.Second); errs[0] == nil {
		t.Error("a certificate that does not match is taken")
	}
}

func TestBrowserNeedsAnAuthenticCheck(t *testing.T) {
	p := newPair(t)
	p.answers[0].Pwd, p.answers[1].Pwd = "wrong-wrong-wrong-wrong", "wrong-wrong-wrong-wrong"
	errs := p.connect(t, 500*time.Millisecond)
	for i, err := range errs {
		if err == nil || !strings.Contains(err.Error(), "ICE") {
			t.Errorf("end %d: %v", i, err)
		}
	}
}
