package flow

import (
	"fmt"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bucket"
	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// configure takes settings that check has passed.
func (t *term) configure(now int64, s Settings) error {
	formats, types := formatsOf(t.in.formats, s.Recv)
	if t.partner != nil {
		t.partner.to.leaving(&s)
	}
	if err := t.clocks(now, s); err != nil {
		return err
	}
	if t.access != nil {
		t.access.describe(t, &s)
	}
	wasOpen, wasOut := t.in.open, t.out.open
	t.set, t.in.formats, t.in.types = s, formats, types
	t.in.open = s.Mode == RecvOnly || s.Mode == SendRecv
	t.out.open = s.Mode == SendOnly || s.Mode == SendRecv
	t.in.police = bucket.Bucket{}
	if s.Police != nil {
		t.in.police = bucket.New(s.Police.BytesPerSecond, s.Police.BurstBytes)
	}
	if t.in.open && !wasOpen {
		t.in.heard, t.in.silent = now, false
		if t.partner != nil {
			t.partner.out.stamp.Switch() // what was not let in leaves no gap in the numbers
		}
	}
	if t.out.open && !wasOut {
		t.out.sent, t.out.silent = now, false
	}
	t.setDSCP(s.DSCP)
	t.out.name(&s)
	t.shareControl()
	if t.leg != nil {
		t.leg.SetXR(s.XRMetrics, s.XRReference)
		t.leg.SetBandwidth(s.RTCPShare)
		mid := ""
		if s.MIDExt != 0 {
			mid = s.MID
		}
		t.leg.SetMID(mid)
	}
	t.observe(now, &s)
	if t.to != nil {
		t.to.rebuild()
	}
	if t.partner != nil {
		t.partner.to.rebuild()
	}
	t.aimSounds()
	return nil
}

// clocks follows the RTP clock rates of both directions.
func (t *term) clocks(now int64, s Settings) error {
	in := uint32(0)
	for _, c := range s.Recv {
		if in == 0 || classOf(c) == classAudio {
			in = c.ClockRate
		}
		if classOf(c) == classAudio {
			break
		}
	}
	out := s.Send.ClockRate
	if out != 0 {
		t.out.stamp.SetClock(out)
	}
	if t.leg != nil {
		t.leg.SetClocks(in, out)
		return nil
	}
	if in == 0 && out == 0 {
		return nil
	}
	if in == 0 {
		in = out
	}
	if out == 0 {
		out = in
	}
	leg, err := rtcp.New(now, rtcp.Config{
		SSRC: t.out.stamp.SSRC(), CNAME: t.cname(), OutClock: out, InClock: in,
		WallOffset: t.w.wall, Interval: t.w.cfg.Timers.RTCP, Seed: uint64(t.out.stamp.SSRC()), Reduced: true,
	})
	if err != nil {
		return fmt.Errorf("flow: %s: %w", t.owner.ID(), err)
	}
	t.leg = leg
	return nil
}

func (t *term) cname() string {
	if t.access != nil {
		return t.access.a.cname
	}
	return t.core.c.cname
}

func (t *term) setDSCP(dscp int) {
	tos := dscp << 2 // RFC 2474 §3: the upper six bits
	if t.access != nil {
		t.out.tos = uint8(tos)
		return
	}
	// A private socket carries the mark itself. Refusal leaves best effort, which is no reason to drop a call.
	_ = t.core.rtp.SetTOS(tos)
	_ = t.core.rtcp.SetTOS(tos)
}

// formatsOf indexes the formats by payload type and keeps the DTMF state of those that stay.
func formatsOf(old []format, recv []codec.Codec) ([]format, [128]uint8) {
	var types [128]uint8
	formats := make([]format, 0, len(recv))
	for _, c := range recv {
		f := format{codec: c, class: classOf(c)}
		if f.class == classEvent {
			for _, o := range old {
				if o.codec == c {
					f.keys = o.keys
				}
			}
			if f.keys == nil {
				f.keys = dtmf.NewReceiver(c.ClockRate)
			}
		}
		formats = append(formats, f)
		types[c.PT] = uint8(len(formats))
	}
	return formats, types
}

func classOf(c codec.Codec) class {
	switch {
	case c.Is(codec.TelephoneEvent):
		return classEvent
	case c.Is(codec.ComfortNoise):
		return classNoise
	}
	return classAudio
}
