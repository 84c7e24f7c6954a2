package streams

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// secondLine is the second audio line of a telephone that has one itself: it completes descriptions of ours and reads the other end's.
type secondLine struct {
	media *rtpua.Endpoint
	heard *rtpua.Recorder

	mu     sync.Mutex
	offers bool // our offers have it
	seen   []string
}

func newSecondLine(ip string, hz float64) (*secondLine, error) {
	e, err := rtpua.Open(rtpua.Config{IP: netip.MustParseAddr(ip)})
	if err != nil {
		return nil, err
	}
	s := &secondLine{media: e, heard: &rtpua.Recorder{}}
	e.SetSource(tone.NewSine(hz, -12))
	e.SetSink(s.heard)
	return s, nil
}

// translate is a Config.Translate.
func (s *secondLine) translate(t ua.Translation) (string, error) {
	d, err := sdp.Parse([]byte(t.SDP))
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Ours {
		return s.ours(t, d)
	}
	s.seen = append(s.seen, t.SDP)
	if len(d.Media) < 2 || d.Media[1].Port == 0 {
		s.media.SetParams(rtpua.Params{})
		return t.SDP, nil
	}
	m := &d.Media[1]
	dir := d.DirectionOf(m)
	s.media.SetParams(rtpua.Params{
		Remote: netip.AddrPortFrom(d.ConnectionOf(m).IP, m.Port), Law: tone.ALaw, PT: 8, Send: dir.Receives(), Recv: dir.Sends(),
	})
	return t.SDP, nil
}

// ours makes the second line of an answer, which the telephone has refused, a living one, and adds it to an offer.
func (s *secondLine) ours(t ua.Translation, d *sdp.Description) (string, error) {
	line := fmt.Sprintf("m=audio %d RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=sendrecv\r\n", s.media.Port())
	switch {
	case len(d.Media) == 1 && (!s.offers || t.Answer):
		return t.SDP, nil
	case len(d.Media) == 1:
		return t.SDP + line, nil
	case len(d.Media) != 2 || d.Media[1].Port != 0:
		return "", errors.New("no second line that is refused")
	}
	i := strings.LastIndex(t.SDP, "m=audio 0 ")
	return t.SDP[:i] + line, nil
}
