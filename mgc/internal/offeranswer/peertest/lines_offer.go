package peertest

import (
	"fmt"
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Offer makes its next offer.
func (l *Lines) Offer(names []string) (*sdp.Description, Expect) {
	l.Keep()
	first := l.order == nil
	var d *sdp.Description
	var e Expect
	if l.web != nil {
		d, e = l.web.Offer(names)
	} else {
		d, e = l.core.Offer(names)
	}
	l.names = names
	l.grow(len(l.model().Lines))
	can := len(d.Media) >= len(l.model().Lines) && (!first || e.Fails == "") // of several lines the first that can be used is taken
	for can && len(l.Further) < l.most && (first && Chance(l.r, 60) || Chance(l.r, 20)) {
		f := l.newFurther()
		f.Begun = true
		if l.web != nil {
			f.MID = l.freshMID()
		}
		l.Further = append(l.Further, f)
		l.order = append(l.order, -len(l.Further))
	}
	out := l.join(d, func(f *Further) sdp.Media { return l.offerLine(f, d, &e) })
	if e.Fails == "no audio line" { // the first one alone may be given up; that these models do not do
		for i := range out.Media {
			if m := &out.Media[i]; m.Type == "audio" {
				m.Port, m.Other = 0, nil
			}
		}
	}
	return out, e
}

// grow adds the model's lines that are new.
func (l *Lines) grow(n int) {
	for i := range n {
		if !slices.Contains(l.order, i) {
			l.order = append(l.order, i)
		}
	}
}

func (l *Lines) freshMID() string {
	l.web.midCount++
	return fmt.Sprint("f", l.web.midCount)
}

// offerLine is a further line of its offer.
func (l *Lines) offerLine(f *Further, d *sdp.Description, e *Expect) sdp.Media {
	f.out, f.fails = true, false
	ends, returns := 10, 25
	if l.Busy {
		ends, returns = 25, 40
	}
	switch {
	case f.On && Chance(l.r, ends): // given up
		f.out, f.Ended = false, true
	case f.Ended && !Chance(l.r, returns):
		f.out = false
	case f.Ended && l.web != nil: // used anew
		f.MID = l.freshMID()
		f.Sends, f.Receives = true, true
		f.Begun = true
	}
	if f.Phone != nil {
		return l.offerPhone(f, d, e)
	}
	a := &d.Media[min(l.web.Audio, len(d.Media)-1)]
	m := *a
	m.MID, m.Other, m.SSRCs = f.MID, nil, []sdp.SSRC{{ID: f.SSRC, Name: "cname", Value: "webcname"}}
	if m.Proto, m.Port = "UDP/TLS/RTP/SAVPF", 9; !f.out {
		m.Port, m.Direction, m.Codecs = 0, sdp.Inactive, nil
		m.Formats = []string{"0"}
		f.offers = &m
		return m
	}
	if Chance(l.r, 45) {
		f.changeWish()
	}
	m.Direction = sdp.Dir(f.Sends, f.Receives)
	f.Codecs = m.Codecs
	if len(l.backup.order) == 0 && l.r.IntN(3) == 0 {
		m.Port, m.Other = 0, []sdp.Attribute{{Name: "bundle-only"}}
	}
	f.offers = &m
	return m
}

func (l *Lines) offerPhone(f *Further, d *sdp.Description, e *Expect) sdp.Media {
	was := f.On
	one, ex := f.Phone.Offer(l.names)
	m := one.Media[0]
	m.Connection, m.Direction = &sdp.Connection{Addr: one.ConnectionOf(&one.Media[0])}, one.DirectionOf(&one.Media[0])
	f.fails = ex.Fails != ""
	if f.fails || !f.out {
		f.Phone.Forget()
	}
	if !f.out {
		m.Port = 0
	} else if was && !f.fails {
		e.NewKey = e.NewKey || ex.NewKey
	}
	e.Moved, e.MayNewKey = e.Moved || f.out, e.MayNewKey || f.out && ex.NewKey
	f.offers = &m
	return m
}
