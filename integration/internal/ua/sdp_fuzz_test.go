package ua

import (
	"strings"
	"testing"
)

// FuzzParseSDP: no input may panic, and what parses must be answerable in a way that parses again.
func FuzzParseSDP(f *testing.F) {
	f.Add(webrtcOffer)
	f.Add((&localMedia{id: 1, ip: loop(), port: 4000}).render((&Config{Codecs: []Codec{PCMA, PCMU}}).offerFormats(), SendRecv, nil))
	f.Add("v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:4005 IN IP6 ::1\r\na=inactive\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		WebRTCLines([]byte(text))
		d, err := ParseSDP([]byte(text))
		if err != nil {
			return
		}
		c := &Call{a: &Agent{cfg: Config{Codecs: []Codec{PCMA, PCMU}}}, wish: SendRecv, local: localMedia{id: 1, ip: loop(), port: 6000}}
		body, err := c.describeLocked(d)
		if err != nil {
			return
		}
		back, err := ParseSDP([]byte(body))
		if err != nil {
			t.Fatalf("our answer does not parse: %v\n%q\nto\n%q", err, body, text)
		}
		if len(back.Media) != len(d.Media) || back.Audio() == nil || strings.Contains(body, "\n\n") {
			t.Fatalf("answer %q\nto %q", body, text)
		}
	})
}
