package peertest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Lines is a peer with further audio lines beside that of its model, a browser or a phone. It adds them to what the model says and takes them out of what the
// model hears, which notes nothing of them; each is checked by itself. Lines come, go, are refused and held, as a legal peer may.
type Lines struct {
	r    *rand.Rand
	web  *Browser // one of these is the model
	core *Phone
	most int  // further lines
	Busy bool // they come and go more often

	Further []*Further
	order   []int // m= lines: index of the model's, or -1 - index of Further
	at      dialog
	inner   dialog
	backup  *Lines
	names   []string
}

// Further is one further audio line.
type Further struct {
	Peer          // its wishes, payload types and codecs
	Phone  *Phone // on the core's side: a phone of its own
	MID    string
	On     bool // agreed
	Ended  bool // refused or given up: port 0, until it is offered anew
	Begun  bool // offered by this peer first
	Port   uint16
	Dir    sdp.Direction // agreed, from the gateway's point of view
	SSRC   uint32
	at     dialog
	out    bool // in the offer that is out
	fails  bool // that must not be taken
	offers *sdp.Media
}

// dialog is the o= line of what was heard last (RFC 3264 §5, §8).
type dialog struct {
	raw     []byte
	id, ver uint64
}

// hears checks a description.
func (h *dialog) hears(raw []byte, d *sdp.Description) error {
	want := h.ver
	if h.raw != nil && !bytes.Equal(raw, h.raw) {
		want++
	}
	if h.raw != nil && (d.Origin.Version != want || d.Origin.ID != h.id) {
		return fmt.Errorf("o= %d %d, was %d %d (RFC 3264 §8)", d.Origin.ID, d.Origin.Version, h.id, h.ver)
	}
	h.raw, h.id, h.ver = raw, d.Origin.ID, d.Origin.Version
	return nil
}

// numbers is d with a version of a dialog in which only it is said.
func (h *dialog) numbers(d *sdp.Description) []byte {
	d.Origin.Version = h.ver
	raw := d.Marshal()
	if h.raw == nil {
		h.ver = d.Origin.Version
	} else if !bytes.Equal(raw, h.raw) {
		h.ver++
		d.Origin.Version = h.ver
		raw = d.Marshal()
	}
	h.raw = raw
	return raw
}

// NewLines gives a model up to most further lines.
func NewLines(r *rand.Rand, web *Browser, core *Phone, most int) *Lines {
	if web != nil {
		web.bundles, web.one = true, true // without a group there are none
	}
	return &Lines{r: r, web: web, core: core, most: most, inner: dialog{ver: 1}}
}

func (l *Lines) model() *Peer {
	if l.web != nil {
		return &l.web.Peer
	}
	return &l.core.Peer
}

func (l *Lines) newFurther() *Further {
	f := &Further{Peer: Peer{r: l.r, browser: l.web != nil, Sends: true, Receives: true}, SSRC: l.r.Uint32(), at: dialog{ver: 1}}
	if l.core != nil {
		f.Phone = NewPhone(l.r, l.core.Crypto.Policy)
		f.Phone.proto, f.Phone.oldHold, f.Phone.Lines, f.Phone.One = l.core.proto, false, []Line{{Kind: "audio"}}, true
		f.Phone.Crypto.Habit = l.core.Crypto.Habit
		f.Phone.Can, f.Phone.event = l.core.Can, l.core.event
	}
	return f
}

// forgetKeys lets go of the keys of a line that has ended.
func (f *Further) forgetKeys() {
	if f.Phone != nil {
		f.Phone.Crypto.end()
	}
}

// peer is who has its wishes.
func (f *Further) peer() *Peer {
	if f.Phone != nil {
		return &f.Phone.Peer
	}
	return &f.Peer
}

// Wants is what its user wants.
func (f *Further) Wants() (sends, receives bool) { return f.peer().Sends, f.peer().Receives }

// Keep saves the peer before an offer, from either end.
func (l *Lines) Keep() {
	b := *l
	b.order, b.Further = slices.Clone(l.order), nil
	for _, f := range l.Further {
		c := *f
		b.Further = append(b.Further, &c)
		if f.Phone != nil {
			f.Phone.Keep()
		} else {
			f.Peer.Keep()
		}
	}
	l.backup = &b
}

// Restore undoes a failed offer.
func (l *Lines) Restore() {
	if l.web != nil {
		l.web.Restore()
	} else {
		l.core.Restore()
	}
	b := l.backup
	l.order = slices.Clone(b.order)
	for i, f := range l.Further[:len(b.Further)] {
		if f.Phone != nil {
			f.Phone.Restore()
		} else {
			f.Peer.Restore()
		}
		was := b.Further[i]
		f.MID, f.On, f.Ended, f.Begun, f.Port, f.Dir, f.out = was.MID, was.On, was.Ended, was.Begun, was.Port, was.Dir, false
	}
	l.Further = l.Further[:len(b.Further)]
}

// Forget lets go of the payload types of an offer that was refused outright.
func (l *Lines) Forget() {
	if l.web != nil {
		l.web.Forget()
	} else {
		l.core.Forget()
	}
	for i, f := range l.Further {
		if i < len(l.backup.Further) && f.Phone != nil {
			f.Phone.Forget()
		}
	}
}

// join is a model's description with the further lines.
func (l *Lines) join(d *sdp.Description, line func(*Further) sdp.Media) *sdp.Description {
	out := *d
	out.Media = nil
	group := slices.Clone(d.Bundle())
	for _, i := range l.order {
		switch {
		case i >= len(d.Media): // spoilt: a line is missing
		case i >= 0:
			out.Media = append(out.Media, d.Media[i])
		default:
			f := l.Further[-1-i]
			m := line(f)
			if len(m.Codecs) > 0 {
				m.Formats = nil
			}
			for _, c := range m.Codecs {
				m.Formats = append(m.Formats, strconv.Itoa(int(c.PT)))
			}
			out.Media = append(out.Media, m)
			if m.Port != 0 || len(m.Other) > 0 && m.Other[0].Name == "bundle-only" {
				group = append(group, m.MID)
			}
		}
	}
	if l.web != nil && group != nil {
		out.Groups = []sdp.Group{{Semantics: "BUNDLE", MIDs: group}}
	}
	return &out
}

// split is what of a description is the model's, and the further lines by their place.
func (l *Lines) split(raw []byte) (model []byte, further map[*Further]*sdp.Media, d *sdp.Description, err error) {
	if d, err = sdp.Parse(raw); err != nil {
		return nil, nil, nil, err
	}
	if err := l.at.hears(raw, d); err != nil {
		return nil, nil, nil, err
	}
	if len(d.Media) < len(l.order) {
		return nil, nil, nil, fmt.Errorf("%d media lines, there are %d", len(d.Media), len(l.order))
	}
	late := l.order != nil
	if !late {
		l.order = []int{0}
	}
	for i := len(l.order); i < len(d.Media); i++ { // lines of the other end
		f := l.newFurther()
		if f.MID = d.Media[i].MID; f.Phone != nil {
			f.Phone.proto, f.Phone.later = d.Media[i].Proto, late
		}
		l.Further = append(l.Further, f)
		l.order = append(l.order, -len(l.Further))
	}
	one := *d
	one.Media, one.Groups, further = nil, slices.Clone(d.Groups), map[*Further]*sdp.Media{}
	var group []string
	for i, j := range l.order {
		if j >= 0 {
			one.Media = append(one.Media, d.Media[i])
			if slices.Contains(d.Bundle(), d.Media[i].MID) {
				group = append(group, d.Media[i].MID)
			}
			continue
		}
		further[l.Further[-1-j]] = &d.Media[i]
	}
	if l.core != nil && (len(d.Groups) > 0 || slices.ContainsFunc(d.Media, func(m sdp.Media) bool { return m.MID != "" || len(m.Extmaps) > 0 })) {
		return nil, nil, nil, errors.New("lines are grouped towards the core (TS 23.228 §U.1.1)")
	}
	if len(d.Groups) > 0 {
		slices.SortFunc(group, func(a, b string) int { return slices.Index(d.Bundle(), a) - slices.Index(d.Bundle(), b) })
		one.Groups[0].MIDs = group
	}
	if err := l.checkShared(d, &one, further); err != nil {
		return nil, nil, nil, err
	}
	return l.inner.numbers(&one), further, d, nil
}

// checkShared checks what a browser's lines have in common, and takes the extension out that only several lines have.
func (l *Lines) checkShared(d, one *sdp.Description, further map[*Further]*sdp.Media) error {
	if l.web == nil {
		return nil
	}
	a := &one.Media[l.model().Audio]
	living := 0
	for f, m := range further {
		if m.Port == 0 && !slices.ContainsFunc(m.Other, func(o sdp.Attribute) bool { return o.Name == "bundle-only" }) {
			if slices.Contains(d.Bundle(), m.MID) {
				return fmt.Errorf("mid %s is in the group and has port 0", m.MID)
			}
			continue
		}
		living++
		switch {
		case !slices.Contains(d.Bundle(), m.MID):
			return fmt.Errorf("mid %s is not in the group %v", m.MID, d.Bundle())
		case m.ICEUfrag != a.ICEUfrag || m.ICEPwd != a.ICEPwd || m.Setup != a.Setup || !slices.Equal(m.Fingerprints, a.Fingerprints) || m.TLSID != a.TLSID:
			return fmt.Errorf("mid %s has another transport than mid %s", m.MID, a.MID)
		case len(m.SSRCs) != 1 || m.SSRCs[0].ID == a.SSRCs[0].ID || len(m.Msids) != 1 || m.Msids[0] == a.Msids[0]:
			return fmt.Errorf("mid %s: ssrc %v, msid %v", m.MID, m.SSRCs, m.Msids)
		}
		for g, o := range further {
			if g != f && o.Port != 0 && m.Port != 0 && (o.SSRCs[0].ID == m.SSRCs[0].ID || o.Msids[0] == m.Msids[0] || o.MID == m.MID) {
				return fmt.Errorf("mids %s and %s are alike", o.MID, m.MID)
			}
		}
		for _, c := range m.Codecs {
			if i := slices.IndexFunc(a.Codecs, func(o codec.Codec) bool { return o.PT == c.PT }); i >= 0 && (!a.Codecs[i].SamePayload(c) || a.Codecs[i].Fmtp != c.Fmtp) {
				return fmt.Errorf("payload type %d is %v and %v in one group (RFC 9143 §10.1.2)", c.PT, a.Codecs[i], c)
			}
		}
	}
	switch {
	case living == 0 && len(a.Extmaps) > 0:
		return errors.New("a header extension for one line")
	case len(a.Extmaps) > 1 || len(a.Extmaps) == 1 && (a.Extmaps[0].ID != 4 || a.Extmaps[0].URI != "urn:ietf:params:rtp-hdrext:sdes:mid"):
		return fmt.Errorf("header extensions %v", a.Extmaps)
	}
	a.Extmaps = nil
	return nil
}

// At is the further line in a place; nil: that is another one.
func (l *Lines) At(place int) *Further {
	if place >= len(l.order) || l.order[place] >= 0 {
		return nil
	}
	return l.Further[-1-l.order[place]]
}

// CheckLine compares what the MGW is told of an agreed further line with what both peers know.
func (g *Gateway) CheckLine(f *Further, s *iqv1.Stream) error {
	told := Told{Said: f.Took, Theirs: f.Codecs}
	if f.Phone != nil {
		told = Told{Said: f.Phone.Took, Theirs: f.Phone.Codecs, Phone: f.Phone}
		if s.GetLocal().GetPort() != uint32(f.Port) {
			return fmt.Errorf("local port %d, the phone was told %d", s.GetLocal().GetPort(), f.Port)
		}
		if err := errors.Join(checkAddress(s.GetRemote(), f.Phone), f.Phone.Crypto.check(s)); err != nil {
			return err
		}
	} else if s.GetMid() != f.MID || s.GetRemote().GetSsrc() != f.SSRC {
		return fmt.Errorf("mid %q and source %d, the line has %q and %d", s.GetMid(), s.GetRemote().GetSsrc(), f.MID, f.SSRC)
	}
	return g.checkSending(s.GetRemote(), told)
}
