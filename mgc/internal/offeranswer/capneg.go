package offeranswer

import "github.com/isthmus-gateway/isthmus/pkg/sdp"

// takePotential takes RTP/AVPF where the core offers RTP/AVP and that as the better one (TS 26.114 §6.2.1a, RFC 5939 §3.6.2): the line has that
// protocol from our answer on. What else is offered as potential is left alone: SRTP comes as RFC 8643 has it.
func (l *Line) takePotential(d *sdp.Description, a *sdp.Media, answer bool) {
	l.Actual = ""
	if answer || a.Proto != "RTP/AVP" {
		return
	}
	for _, p := range d.Potentials(a) {
		if p.Proto == "RTP/AVPF" {
			l.Slots[l.Audio].Proto, l.Actual = p.Proto, p.Actual()
			return
		}
	}
}
