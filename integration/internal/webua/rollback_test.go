package webua

import (
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// A refused re-offer is taken back, and the next one goes on from what was agreed.
func TestRollback(t *testing.T) {
	a, err := newPeer(&Config{Codecs: []string{"PCMA"}}, tone.Silence{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	b, err := newPeer(&Config{Codecs: []string{"PCMA"}}, tone.Silence{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	agree := func(offer string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		answer, err := b.answer(offer)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.accept(answer); err != nil {
			t.Fatal(err)
		}
	}
	agree(a.offer())
	hold, err := a.reoffer("sendonly")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(hold, "\r\na=sendonly\r\n") {
		t.Errorf("offer without the direction:\n%s", hold)
	}
	if err := a.rollback(); err != nil {
		t.Fatal(err)
	}
	if s := a.pc.SignalingState(); s != webrtc.SignalingStateStable {
		t.Errorf("state after the rollback is %s", s)
	}
	agree(a.reoffer("inactive"))
	agree(a.reoffer("sendrecv"))
}

func TestMirrored(t *testing.T) {
	for offered, want := range map[string]string{"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"} {
		offer := "m=audio 9 RTP/AVP 8\r\na=" + offered + "\r\n"
		if got := mirrored("m=audio 9 RTP/AVP 8\r\na=recvonly\r\na=mid:0\r\n", offer); !strings.Contains(got, "\r\na="+want+"\r\n") {
			t.Errorf("answer to %s is %q", offered, got)
		}
	}
}
