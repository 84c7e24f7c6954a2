package flow

import (
	"fmt"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// stats reads everything; on the worker.
func (t *term) stats() Stats {
	s := Stats{
		OctetsSent: t.out.octets, PacketsSent: t.out.packets,
		OctetsReceived: t.in.octets, PacketsReceived: t.in.packets,
		Dropped:  t.in.drops.Map(),
		Duration: time.Duration(t.w.monotonic() - t.since),
	}
	if t.out.leg != nil {
		l := t.out.leg.Statistics()
		s.PacketsLost, s.Jitter, s.RTT = l.PacketsLost, l.Jitter, l.RTT
		s.RemoteLossPermille = uint32(l.RemoteFraction) * 1000 / 256
	}
	if t.in.last != nil {
		s.CodecReceived = describe(t.in.last.codec)
	}
	if t.out.packets > 0 && !t.set.Send.IsZero() {
		s.CodecSent = describe(t.set.Send)
	}
	g := t.past
	if t.to != nil {
		g.merge(t.to.figures())
		s.Transcoding = t.to.active != nil
	}
	s.FramesConcealed, s.FramesRecovered, s.PacketsLate = g.concealed, g.recovered, g.late
	s.SelectedPair = t.pairText()
	return s
}

func (t *term) pairText() string {
	switch {
	case t.access != nil && t.access.selected.IsValid():
		return fmt.Sprintf("%s:%d %s", t.access.a.local.Address, t.access.a.local.Port, t.access.selected)
	case t.core != nil && t.core.latched.IsValid():
		return fmt.Sprintf("%s %s", t.core.c.local.RTP, t.core.latched)
	}
	return ""
}

func describe(c codec.Codec) string {
	if n := c.ChannelCount(); n > 1 {
		return fmt.Sprintf("%s/%d/%d", c.Name, c.ClockRate, n)
	}
	return fmt.Sprintf("%s/%d", c.Name, c.ClockRate)
}
