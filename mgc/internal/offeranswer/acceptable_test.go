package offeranswer

import "testing"

func TestMO09_Acceptable(t *testing.T) {
	p := DefaultPolicy()
	p.Access, p.Core, p.Transcode = []string{"opus", "PCMU", "G722"}, []string{"PCMU"}, []string{"opus", "PCMU"}
	const head = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
	web := head + "m=audio 0 UDP/TLS/RTP/SAVPF 111 0 110 126\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 " + fmtpOpus + "\r\na=rtpmap:0 PCMU/8000\r\n" +
		"a=rtpmap:110 telephone-event/48000\r\na=fmtp:110 0-15\r\na=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-15\r\n"
	if got := string(p.Acceptable(Access)); got != web { // G722 can be joined with nothing
		t.Errorf("browsers:\n%s", got)
	}
	core := head + "m=audio 0 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
	if got := string(p.Acceptable(Core)); got != core {
		t.Errorf("core:\n%s", got)
	}
	p.Core = nil
	if got := p.Acceptable(Access); got != nil {
		t.Errorf("nothing can be joined, and allowed is\n%s", got)
	}
}
