package flow

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// check refuses settings that cannot work on any termination.
func (s *Settings) check() error {
	var seen [128]bool
	for _, c := range s.Recv {
		if err := checkCodec(c); err != nil {
			return err
		}
		if seen[c.PT] {
			return fmt.Errorf("%w: payload type %d twice", ErrBadSettings, c.PT)
		}
		seen[c.PT] = true
	}
	if !s.Send.IsZero() {
		if err := checkCodec(s.Send); err != nil {
			return err
		}
		if classOf(s.Send) != classAudio {
			return fmt.Errorf("%w: %s is no audio to send", ErrBadSettings, s.Send.Name)
		}
	}
	if !s.SendDTMF.IsZero() {
		if err := checkCodec(s.SendDTMF); err != nil {
			return err
		}
		if classOf(s.SendDTMF) != classEvent {
			return fmt.Errorf("%w: %s is no telephone-event", ErrBadSettings, s.SendDTMF.Name)
		}
	}
	if !s.SendCN.IsZero() {
		if err := checkCodec(s.SendCN); err != nil {
			return err
		}
		if classOf(s.SendCN) != classNoise {
			return fmt.Errorf("%w: %s is no comfort noise", ErrBadSettings, s.SendCN.Name)
		}
	}
	switch {
	case s.Mode > SendRecv:
		return fmt.Errorf("%w: mode %d", ErrBadSettings, s.Mode)
	case s.DSCP < 0 || s.DSCP > 63:
		return fmt.Errorf("%w: DSCP %d", ErrBadSettings, s.DSCP)
	case s.Ptime != 0 && s.Ptime != Ptime(s.Ptime):
		return fmt.Errorf("%w: ptime %v", ErrBadSettings, s.Ptime)
	case s.MaxPtime < 0:
		return fmt.Errorf("%w: maxptime %v", ErrBadSettings, s.MaxPtime)
	case s.MaxBitrate < 0:
		return fmt.Errorf("%w: %d bit/s", ErrBadSettings, s.MaxBitrate)
	case s.Police != nil && s.Police.BytesPerSecond == 0:
		return fmt.Errorf("%w: policing without a rate", ErrBadSettings)
	case s.DetectTones && !s.audible():
		return ErrCannotDetect
	case s.QualityLimit < 0 || s.QualityLimit > 5:
		return fmt.Errorf("%w: MOS of %.2f as a limit", ErrBadSettings, s.QualityLimit)
	case s.MIDExt > 14 || s.MIDExt != 0 && (s.MID == "" || len(s.MID) > rtp.MaxElement):
		return fmt.Errorf("%w: MID of %d octets by header extension %d", ErrBadSettings, len(s.MID), s.MIDExt)
	case s.InactiveAfter < 0 || s.ConsentAfter < 0 || s.QualityEvery < 0:
		return fmt.Errorf("%w: negative time", ErrBadSettings)
	}
	return nil
}

// audible reports whether the peer has telephone events, or may send audio that can be decoded.
func (s *Settings) audible() bool {
	return slices.ContainsFunc(s.Recv, func(c codec.Codec) bool {
		return classOf(c) == classEvent || classOf(c) == classAudio && transcode.Supported(c)
	})
}

// Ptime brings the packet duration that a peer asks for to steps of 10 ms between 10 and 240 ms; what is made of it is up to the codec
// (transcode.Ptime).
func Ptime(asked time.Duration) time.Duration {
	const step = 10 * time.Millisecond
	return min(max(asked/step, 1), 24) * step
}

func checkCodec(c codec.Codec) error {
	if c.Name == "" || c.PT > 127 || c.ClockRate < 8000 || c.ClockRate > 192000 {
		return fmt.Errorf("%w: payload type %d at %d Hz", ErrBadSettings, c.PT, c.ClockRate)
	}
	return nil
}

// configure checks and applies settings on the worker.
func configure(w *worker, t *term, s Settings) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("%s: %w", t.owner.ID(), err)
	}
	s.Recv = slices.Clone(s.Recv)
	if s.Police != nil {
		p := *s.Police
		s.Police = &p
	}
	var err error
	if !w.alive(t, func() { err = t.configure(w.now, s) }) {
		return fmt.Errorf("%s: %w", t.owner.ID(), ErrClosed)
	}
	return err
}

// alive runs f on the worker and waits, unless t is closed; then it returns false.
func (w *worker) alive(t *term, f func()) bool {
	ok := false
	w.do(func() {
		if ok = !t.closed; ok {
			f()
		}
	})
	return ok
}

// stats reads everything; on the worker.
func (t *term) stats() Stats {
	s := Stats{
		OctetsSent: t.out.octets, PacketsSent: t.out.packets,
		OctetsReceived: t.in.octets, PacketsReceived: t.in.packets,
		Dropped:  t.in.drops.Map(),
		Duration: time.Duration(t.w.monotonic() - t.since),
	}
	if t.leg != nil {
		l := t.leg.Statistics()
		s.PacketsLost, s.Jitter, s.RTT = l.PacketsLost, l.Jitter, l.RTT
		s.RemoteLossPermille = uint32(l.RemoteFraction) * 1000 / 256
		if l.Measured {
			s.RemoteMetrics = l.VoIP
		}
		t.leg.SetPlayout(t.playout())
		s.Metrics = t.leg.Metrics()
	}
	if t.in.last != nil {
		s.CodecReceived = describe(t.in.last.codec)
	}
	if t.out.packets > 0 && !t.set.Send.IsZero() {
		s.CodecSent = describe(t.set.Send)
	}
	g := t.past
	s.Path, s.Transcoding = t.went, t.coded
	if t.to != nil {
		g.merge(t.to.figures())
		s.Path, s.Transcoding = t.to.path(), t.to.transcoding()
	}
	s.FramesConcealed, s.FramesRecovered, s.PacketsLate = g.concealed, g.recovered, g.late
	s.SelectedPair = t.pairText()
	t.rate(&s)
	return s
}

func (t *term) pairText() string {
	switch {
	case t.access != nil && t.out.stream != nil:
		l := t.access.a.localFor(t.out.stream.Remote.Addr(), "tcp")
		return fmt.Sprintf("%s/tcp %s", net.JoinHostPort(l.Address, strconv.Itoa(int(l.Port))), t.out.stream.Remote)
	case t.access != nil && t.access.selected.IsValid():
		l := t.access.a.localFor(t.access.selected.Addr(), "udp")
		return fmt.Sprintf("%s %s", net.JoinHostPort(l.Address, strconv.Itoa(int(l.Port))), t.access.selected)
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
