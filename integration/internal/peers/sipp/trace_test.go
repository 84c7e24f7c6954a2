package sipp

import "testing"

const trace = `----------------------------------------------- 2026-01-02 22:14:46.789629
UDP message received [515] bytes :

INVITE sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bK1
To: <sip:bob@example.com>;tag=t1;x=y
CSeq: 7 INVITE

v=0

----------------------------------------------- 2026-01-02 22:14:46.789882
UDP message sent (313 bytes):

SIP/2.0 180 Ringing
CSeq: 7 INVITE

----------------------------------------------- 2026-01-02 22:14:46.789900
Unexpected UDP message received:

BYE sip:bob@example.com SIP/2.0
CSeq: 8 BYE

`

func TestTrace(t *testing.T) {
	r := Result{Trace: readTrace([]byte(trace))}
	if len(r.Trace) != 2 {
		t.Fatalf("%d messages, want 2: an unexpected one is logged twice", len(r.Trace))
	}
	in, out := r.Received("INVITE"), r.Sent("180 INVITE")
	if len(in) != 1 || in[0].URI != "sip:bob@example.com" || in[0].Tag("To") != "t1" || in[0].Body != "v=0\n" {
		t.Errorf("received %+v", in)
	}
	if len(out) != 1 || out[0].Reason != "Ringing" {
		t.Errorf("sent %+v", out)
	}
	if n := len(r.Sent("INVITE")); n != 0 {
		t.Errorf("%d INVITE sent", n)
	}
}

func TestStatistics(t *testing.T) {
	var r Result
	if err := r.readStat("SuccessfulCall(C);FailedCall(C);Retransmissions(C)\n1;0;0\n4;2;9\n"); err != nil {
		t.Fatal(err)
	}
	if r.Good != 4 || r.Bad != 2 || r.Repeats != 9 {
		t.Errorf("%+v, want the last line", r)
	}
	if err := r.readStat("SuccessfulCall(C);FailedCall(C)\n1;0\n"); err == nil {
		t.Error("a missing counter was not told")
	}
}

func TestLoseEach(t *testing.T) {
	judge := LoseEach(1)
	invite, err := Parse("INVITE sip:b SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	other := invite
	other.Lines = []string{"Call-ID: 2", "CSeq: 1 INVITE"}
	for i, c := range []struct {
		way  Direction
		m    Message
		want Fate
	}{{ToSipp, invite, 0}, {ToSipp, invite, 1}, {ToSipp, invite, 1}, {ToGateway, invite, 0}, {ToSipp, other, 0}, {ToSipp, other, 1}} {
		if got := judge(c.way, c.m); got != c.want {
			t.Errorf("datagram %d: %d copies, want %d", i, got, c.want)
		}
	}
}
