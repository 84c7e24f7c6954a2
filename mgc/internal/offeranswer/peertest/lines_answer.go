package peertest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Overhear notes an offer that the peer refuses unread.
func (l *Lines) Overhear(raw []byte) error {
	order, further := slices.Clone(l.order), len(l.Further)
	model, _, _, err := l.split(raw)
	if l.order, l.Further = order, l.Further[:further]; err != nil {
		return err
	}
	return l.model().Overhear(model)
}

// TakeAnswer checks the answer to its offer and takes it.
func (l *Lines) TakeAnswer(raw []byte, e Expect) (sdp.Direction, error) {
	if n, err := sdp.Parse(raw); err == nil && len(n.Media) != len(l.order) {
		return 0, fmt.Errorf("%d lines answer %d", len(n.Media), len(l.order))
	}
	model, further, _, err := l.split(raw)
	if err != nil {
		return 0, err
	}
	var dir sdp.Direction
	if l.web != nil {
		dir, err = l.web.TakeAnswer(model, e)
	} else {
		dir, err = l.core.TakeAnswer(model, e)
	}
	for f, m := range further {
		if err == nil {
			err = l.takeLineAnswer(f, m)
		}
	}
	return dir, err
}

func (l *Lines) takeLineAnswer(f *Further, m *sdp.Media) error {
	if m.MID != f.MID || m.Type != "audio" || m.Proto != f.offers.Proto {
		return fmt.Errorf("line %q is answered as %s %q %s", f.MID, m.Type, m.MID, m.Proto)
	}
	if m.Port == 0 {
		if f.On, f.Ended = false, true; f.Phone != nil && f.out {
			f.Phone.Forget()
			f.Phone.Restore()
		}
		f.forgetKeys()
		return nil
	}
	switch {
	case !f.out:
		return fmt.Errorf("line %q had port 0 and is answered with %d", f.MID, m.Port)
	case f.fails:
		return fmt.Errorf("a line that cannot be used is taken: %+v", f.offers)
	}
	f.On, f.Ended, f.Port = true, false, m.Port
	if f.Phone != nil {
		dir, err := f.Phone.TakeAnswer(l.alone(f, m), Expect{})
		f.Dir = dir
		return err
	}
	if dir := m.Direction; f.offers.Direction.Reverse().And(dir) != dir {
		return fmt.Errorf("%s is no answer to %s", dir, f.offers.Direction)
	}
	f.Dir, f.Took = m.Direction, m
	return errors.Join(f.subset(m, f.offers), f.bind(m.Codecs))
}

// alone is a further line as a description of its own.
func (l *Lines) alone(f *Further, m *sdp.Media) []byte {
	d := &sdp.Description{Origin: sdp.Origin{ID: 77, Addr: sdp.Address{Host: "127.0.0.1"}}, Media: []sdp.Media{*m}}
	parsed, _ := sdp.Parse(l.at.raw)
	d.Connection, d.Origin.Addr = parsed.Connection, parsed.Origin.Addr
	return f.at.numbers(d)
}

// TakeOffer checks an offer and answers it; nil: it refuses, as it may.
func (l *Lines) TakeOffer(raw []byte) (*sdp.Description, sdp.Direction, error) {
	l.Keep()
	model, further, _, err := l.split(raw)
	if err != nil {
		return nil, 0, err
	}
	var ans *sdp.Description
	var dir sdp.Direction
	if l.web != nil {
		ans, dir, err = l.web.TakeOffer(model)
		l.web.midCount += 10 // names of lines of the other end are its
	} else {
		ans, dir, err = l.core.TakeOffer(model)
	}
	if err != nil || ans == nil {
		return nil, 0, err
	}
	out := l.join(ans, func(f *Further) sdp.Media {
		m, lerr := l.answerLine(f, further[f], ans)
		err = errors.Join(err, lerr)
		return m
	})
	return out, dir, err
}

// answerLine is its answer to a further line of an offer.
func (l *Lines) answerLine(f *Further, m *sdp.Media, ans *sdp.Description) (sdp.Media, error) {
	only := slices.ContainsFunc(m.Other, func(o sdp.Attribute) bool { return o.Name == "bundle-only" })
	no := sdp.Media{Type: "audio", Proto: m.Proto, Formats: m.Formats, MID: m.MID, Attributes: sdp.Attributes{Direction: sdp.Inactive}}
	if f.Phone != nil {
		no.MID = ""
	}
	switch {
	case only && (l.web == nil || m.Port != 0 || f.On):
		return no, fmt.Errorf("bundle-only with port %d, agreed: %v", m.Port, f.On)
	case m.Port == 0 && !only:
		f.On, f.Ended = false, true
		f.forgetKeys()
		return no, nil
	case f.Ended && f.Phone == nil && m.MID == f.MID:
		return no, fmt.Errorf("mid %s was rejected and is offered again (RFC 9429 §5.2.2)", m.MID)
	case f.On && m.MID != f.MID:
		return no, fmt.Errorf("mid %s becomes %s", f.MID, m.MID)
	}
	if !f.On && f.Phone == nil {
		f.MID, f.Sends, f.Receives = m.MID, true, true
	}
	yes, dir, err := l.acceptLine(f, m, ans)
	if err != nil || yes == nil {
		if f.On, f.Ended = false, true; f.Phone != nil && err == nil {
			f.Phone.Restore()
		}
		f.forgetKeys()
		return no, err
	}
	f.On, f.Ended, f.Begun, f.Port = true, false, f.Begun && f.On, m.Port
	f.Dir = m.Direction.And(dir.Reverse())
	return *yes, nil
}

func (l *Lines) acceptLine(f *Further, m *sdp.Media, ans *sdp.Description) (*sdp.Media, sdp.Direction, error) {
	if f.Phone != nil {
		one, dir, err := f.Phone.TakeOffer(l.alone(f, m))
		if err != nil || one == nil {
			return nil, 0, err
		}
		y := one.Media[0]
		y.Connection, y.Direction = &sdp.Connection{Addr: one.ConnectionOf(&one.Media[0])}, one.DirectionOf(&one.Media[0])
		return &y, dir, nil
	}
	if err := f.bind(m.Codecs); err != nil {
		return nil, 0, err
	}
	var codecs []codec.Codec
	for _, c := range m.Codecs {
		if slices.ContainsFunc(l.web.Can, c.SamePayload) {
			c.Fmtp = ""
			codecs = append(codecs, c)
		}
	}
	if First(codecs, false).IsZero() || Chance(l.r, 12) {
		return nil, 0, nil
	}
	dir := f.answerDirection(m.Direction)
	y := ans.Media[l.web.Audio]
	y.MID, y.Direction, y.Codecs, y.Other, y.SSRCs = m.MID, dir, codecs, nil, []sdp.SSRC{{ID: f.SSRC, Name: "cname", Value: "webcname"}}
	f.Codecs, f.Took = codecs, m
	return &y, dir, nil
}
