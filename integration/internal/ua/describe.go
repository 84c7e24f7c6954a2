package ua

import (
	"fmt"
	"net/netip"
	"strings"
)

// EventPT is the payload type under which telephone-event is offered here.
const EventPT = 101

// Codec names a G.711 variant to offer or accept.
type Codec string

// The codecs of the telephone, in its default order of preference.
const (
	PCMA Codec = "PCMA"
	PCMU Codec = "PCMU"
)

func (c Codec) format() Format {
	if c == PCMU {
		return static(0)
	}
	return static(8)
}

// localMedia is what our next description says.
type localMedia struct {
	id      uint64 // o= identifier
	version uint64 // o= version, counts the different descriptions given
	ip      netip.Addr
	port    int
	last    string // last description, to bump version only on change (RFC 3264 §8)
}

// render writes an SDP with the formats and direction given; rejected lines of the offer are repeated
// with port 0 (RFC 3264 §6).
func (l *localMedia) render(formats []Format, dir Direction, offer *Description) string {
	var b strings.Builder
	family := "IP4"
	if l.ip.Is6() {
		family = "IP6"
	}
	fmt.Fprintf(&b, "s=-\r\nc=IN %s %s\r\nt=0 0\r\n", family, l.ip)
	if offer == nil {
		l.audio(&b, formats, dir)
	} else {
		chosen := offer.Audio()
		for i := range offer.Media {
			if m := &offer.Media[i]; m == chosen {
				l.audio(&b, formats, dir)
			} else {
				fmt.Fprintf(&b, "m=%s 0 %s %s\r\n", m.Kind, m.Proto, strings.Join(m.fmts, " "))
			}
		}
	}
	if b.String() != l.last {
		l.version++
		l.last = b.String()
	}
	return fmt.Sprintf("v=0\r\no=- %d %d IN %s %s\r\n%s", l.id, l.version, family, l.ip, l.last)
}

func (l *localMedia) audio(b *strings.Builder, formats []Format, dir Direction) {
	fmt.Fprintf(b, "m=audio %d RTP/AVP", l.port)
	for _, f := range formats {
		fmt.Fprintf(b, " %d", f.PT)
	}
	b.WriteString("\r\n")
	for _, f := range formats {
		name := f.Name
		if f.IsEvent() {
			name = "telephone-event"
		}
		fmt.Fprintf(b, "a=rtpmap:%d %s/%d\r\n", f.PT, name, f.Clock)
		if f.IsEvent() {
			fmt.Fprintf(b, "a=fmtp:%d 0-15\r\n", f.PT)
		}
	}
	fmt.Fprintf(b, "a=ptime:20\r\na=%s\r\n", dir)
}

// offerFormats lists codecs and telephone-event for an offer.
func (c *Config) offerFormats() []Format {
	var fs []Format
	for _, codec := range c.Codecs {
		fs = append(fs, codec.format())
	}
	if c.NoEvents {
		return fs
	}
	return append(fs, Format{EventPT, "TELEPHONE-EVENT", 8000})
}

// choose picks the first codec of theirs that ours has, and telephone-event under their payload type.
// ok is false when no codec is shared.
func (c *Config) choose(theirs []Format) (codec Format, event Format, ok bool) {
	for _, f := range theirs {
		if f.IsEvent() && event.Name == "" && !c.NoEvents {
			event = f
		}
		for _, have := range c.Codecs {
			if !ok && f.Name == string(have) && f.Clock == 8000 {
				codec, ok = f, true
			}
		}
	}
	return codec, event, ok
}
