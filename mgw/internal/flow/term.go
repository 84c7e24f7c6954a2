package flow

import (
	"fmt"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/stamp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// term is the packet state of a termination. Everything in it is owned by its worker.
type term struct {
	owner  Endpoint
	w      *worker
	set    Settings
	since  int64 // creation, monotonic ns
	access *accessState
	apart  *term // of component 2, by which RTCP goes; nil: with the media
	core   *coreState
	slot   int // index in worker.terms
	closed bool

	in  inbound
	out outbound

	to      *Flow // from this termination to its partner; nil: isolated
	partner *term
	past    transcoded // figures of flows that have ended
	went    Path       // of the newest flow that has ended
	coded   bool       // it was transcoding
	watch   watch

	sound *sounder // signals of this termination; nil: none
}

// inbound is what concerns packets of the peer.
type inbound struct {
	open    bool       // the mode lets media in from the peer
	types   [128]uint8 // by payload type: 1 + index in formats; 0: not admitted
	formats []format
	rx      *srtp.Receiver // nil: no keys, or plain RTP (core)
	police  gate.Bucket
	drops   gate.Drops
	told    gate.Drops // of drops, what the worker's totals hold already

	packets, octets uint64  // admitted
	last            *format // of the newest admitted packet, perhaps of settings before
	heard           int64   // when the newest packet was admitted, or when the mode opened
	started         bool
	silent          bool // MediaInactive has been reported
}

// format is one payload type that the peer may send.
type format struct {
	codec codec.Codec
	class class
	keys  *dtmf.Receiver // class event: tells presses apart, for Notify
}

type class uint8

const (
	classAudio class = iota
	classEvent
	classNoise // comfort noise (RFC 3389)
)

// outbound is what concerns packets to the peer.
type outbound struct {
	open    bool // the mode lets media out to the peer
	secure  bool // nothing leaves without keys
	consent bool // RFC 7675; always true on core terminations
	sock    *udpio.Socket
	addr    udpio.Addr // zero: not known
	stream  *stream    // in the place of sock and addr; nil: UDP
	rtcp    rtcpOut
	tos     uint8 // per datagram, on shared sockets
	tx      *srtp.Sender
	stamp   *stamp.Stamper
	leg     *rtcp.Leg // nil until the codecs are known

	packets, octets uint64
	sent            int64 // when the newest packet left, or when the mode opened
	silent          bool  // MediaInactive has been reported
}

// rtcpOut is where reports go.
type rtcpOut struct {
	sock *udpio.Socket
	addr udpio.Addr
}

// configure takes settings that check has passed.
func (t *term) configure(now int64, s Settings) error {
	formats, types := formatsOf(t.in.formats, s.Recv)
	if t.partner != nil {
		t.partner.to.leaving(&s)
	}
	if err := t.clocks(now, s); err != nil {
		return err
	}
	wasOpen, wasOut := t.in.open, t.out.open
	t.set, t.in.formats, t.in.types = s, formats, types
	t.in.open = s.Mode == RecvOnly || s.Mode == SendRecv
	t.out.open = s.Mode == SendOnly || s.Mode == SendRecv
	t.in.police = gate.Bucket{}
	if s.Police != nil {
		t.in.police = gate.NewBucket(s.Police.BytesPerSecond, s.Police.BurstBytes)
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
	if t.out.leg != nil {
		t.out.leg.SetXR(s.XRMetrics, s.XRReference)
		t.out.leg.SetBandwidth(s.RTCPShare)
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
	if t.out.leg != nil {
		t.out.leg.SetClocks(in, out)
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
	t.out.leg = leg
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

// drop counts a refusal and yields nothing to send.
func (t *term) drop(r gate.Reason) []byte {
	t.in.drops.Count(r)
	return nil
}

// media takes a plaintext RTP packet of the peer through gate and flow, in place. It returns what leaves towards the partner, nil when
// nothing does. b: a buffer with srtp.Overhead bytes of spare capacity.
func (t *term) media(now int64, b []byte) []byte {
	p, err := rtp.Parse(b)
	if err != nil {
		return t.drop(gate.Malformed)
	}
	i := t.in.types[p.PT()]
	if i == 0 {
		return t.drop(gate.PayloadType)
	}
	f := &t.in.formats[i-1]
	size := len(b)
	p = p.Plain()
	t.out.leg.Received(now, rtcp.Arrival{SSRC: p.SSRC(), Seq: p.Seq(), TS: p.TS(), Payload: len(p) - rtp.HeaderLen, Event: f.class == classEvent})
	if !t.in.open {
		return t.drop(gate.Mode)
	}
	if !t.in.police.Admit(now, size) {
		return t.drop(gate.Policed)
	}
	t.admitted(now, f, len(p)-rtp.HeaderLen)
	if f.class == classEvent {
		t.press(now, f, p)
	}
	if t.to == nil {
		return t.drop(gate.NoPartner)
	}
	return t.to.pass(now, p, i-1)
}

func (t *term) admitted(now int64, f *format, payload int) {
	t.in.packets++
	t.in.octets += uint64(payload)
	t.in.heard = now
	t.in.last = f
	if !t.in.started {
		t.in.started = true
		t.emit(Event{Kind: MediaStarted})
	}
	t.lively()
}

// lively ends the silence of the peer.
func (t *term) lively() {
	if t.in.silent {
		t.in.silent = false
		t.emit(Event{Kind: MediaActive})
	}
}

// press follows telephone events for Notify.
func (t *term) press(now int64, f *format, p rtp.Packet) {
	f.keys.Push(now, dtmf.Packet{SSRC: p.SSRC(), TS: p.TS(), Marker: p.Marker(), Payload: p.Payload()})
	t.pressed(f)
}

func (t *term) pressed(f *format) {
	for d, ok := f.keys.Take(); ok; d, ok = f.keys.Take() {
		t.digit(d)
	}
}

// digit reports a press that is over; where digits are listened to, it ends the signals (H.248.1 §7.1.11).
func (t *term) digit(d dtmf.Detected) {
	t.emit(Event{Kind: DTMF, Digit: d.Digit, Duration: d.Duration})
	if t.sound != nil && t.set.Armed&DTMF.Bit() != 0 {
		t.sound.player.Interrupt()
	}
}

// listens reports whether keys are looked for in the peer's audio: not where it has telephone events.
func (t *term) listens() bool {
	if !t.set.DetectTones {
		return false
	}
	for i := range t.in.formats {
		if t.in.formats[i].class == classEvent {
			return false
		}
	}
	return true
}

// refusal says why nothing can be sent to the peer now; gate.Pass when something can.
func (t *term) refusal() gate.Reason {
	if !t.out.open {
		return gate.Mode
	}
	return t.unreachable()
}

// unreachable is refusal whatever the mode is.
func (t *term) unreachable() gate.Reason {
	o := &t.out
	switch {
	case o.addr.IsZero() && o.stream == nil || o.secure && o.tx == nil:
		return gate.NoRemote
	case !o.consent:
		return gate.Consent
	}
	return gate.Pass
}

// seal counts and protects a stamped packet; nil when the key is used up.
func (t *term) seal(p rtp.Packet) []byte {
	o := &t.out
	n := len(p) - rtp.HeaderLen
	o.packets++
	o.octets += uint64(n)
	o.leg.Sent(n)
	o.sent = t.w.now
	if o.silent {
		o.silent = false
		t.emit(Event{Kind: MediaActive, Out: true})
	}
	if o.tx == nil {
		return p
	}
	b, err := o.tx.ProtectRTP(p)
	if err != nil {
		return nil
	}
	return b
}

// control takes a plaintext RTCP datagram of the peer.
func (t *term) control(now int64, b []byte) {
	if t.out.leg == nil {
		t.in.drops.Count(gate.PayloadType)
		return
	}
	info, err := t.out.leg.Handle(now, b)
	if err != nil {
		t.in.drops.Count(gate.Malformed)
		return
	}
	if t.set.RTCPIsMedia && t.in.open {
		t.in.heard = now
		t.lively()
	}
	if info.Reported && t.partner != nil {
		t.partner.to.setLoss(t.out.leg.RemoteLoss())
	}
}

// report sends the RTCP report that is due. bye: the last one.
func (t *term) report(now int64, bye bool) {
	o, way := &t.out, &t.out
	if t.apart != nil {
		way = &t.apart.out
	}
	if o.leg == nil || t.set.RTCPOff || way.rtcp.addr.IsZero() && way.stream == nil || way.secure && way.tx == nil || !way.consent {
		return
	}
	ts, _ := o.stamp.Now(now)
	if o.leg.WantsPlayout() {
		o.leg.SetPlayout(t.playout())
	}
	buf := t.w.buffer()
	n := 0
	if bye {
		n = o.leg.BuildBye(now, ts, buf)
	} else {
		n = o.leg.Build(now, ts, buf)
	}
	b := buf[:n]
	if way.tx != nil {
		var err error
		if b, err = way.tx.ProtectRTCP(b); err != nil {
			return
		}
	}
	if way.stream != nil {
		t.w.stream(way.stream, b)
		return
	}
	t.w.queue(way.rtcp.sock, &way.rtcp.addr, b, o.tos)
}

// tellDrops adds what was refused since the last time to the worker's totals.
func (t *term) tellDrops() {
	for r, n := range t.in.drops {
		if d := n - t.in.told[r]; d != 0 {
			t.w.count.refused[r].Add(d)
		}
	}
	t.in.told = t.in.drops
}

// sweep does what is due a few times per second at most.
func (t *term) sweep(now int64) {
	if t.out.leg != nil && t.out.leg.Due() <= now {
		t.report(now, false)
	}
	limit := t.set.InactiveAfter
	if limit == 0 {
		limit = defaultInactive
	}
	if t.in.open && !t.in.silent && now-t.in.heard > int64(limit) && (t.set.WatchIn || !t.set.WatchOut) {
		t.in.silent = true
		t.emit(Event{Kind: MediaInactive})
	}
	if t.out.open && !t.out.silent && now-t.out.sent > int64(limit) && t.set.WatchOut {
		t.out.silent = true
		t.emit(Event{Kind: MediaInactive, Out: true})
	}
	for i := range t.in.formats {
		if f := &t.in.formats[i]; f.class == classEvent {
			f.keys.Poll(now)
			t.pressed(f)
		}
	}
	t.tellDrops()
	if t.watch.due(now) {
		t.judge(now)
	}
	if t.access != nil {
		t.access.sweep(now)
	}
}

// emit reports an event if it is armed.
func (t *term) emit(e Event) {
	if t.access != nil && t.access.a.parent != nil {
		t.emitApart(e)
		return
	}
	if t.set.Armed&e.Kind.Bit() != 0 {
		t.tell(e)
	}
}

// tell reports an event.
func (t *term) tell(e Event) {
	if t.w.cfg.Events == nil {
		return
	}
	e.Endpoint, e.At = t.owner, time.Now()
	t.w.cfg.Events(e)
}

const (
	defaultInactive = 30 * time.Second
	defaultConsent  = 30 * time.Second
)

// connect makes the two flows between a and c. On their worker.
func connect(a, c *term) error {
	switch {
	case a.closed || c.closed:
		return ErrClosed
	case a.partner == c:
		return nil
	case a.partner != nil || c.partner != nil:
		return ErrConnected
	}
	a.partner, c.partner = c, a
	a.to, c.to = &Flow{src: a, dst: c}, &Flow{src: c, dst: a}
	for _, t := range [2]*term{a, c} {
		t.to.rebuild()
		// Another source now speaks to the peer, maybe with the same SSRC and other numbers.
		t.out.stamp.Switch()
	}
	a.aimSounds()
	c.aimSounds()
	return nil
}

// disconnect isolates t and its partner. On their worker.
func (t *term) disconnect() {
	p := t.partner
	if p == nil {
		return
	}
	for _, x := range [2]*term{t, p} {
		// Its figures belong to the source's stream and outlive the flow.
		x.went, x.coded = x.to.path(), x.to.active != nil
		x.past.merge(x.to.end())
		x.partner, x.to = nil, nil
	}
	t.aimSounds()
	p.aimSounds()
}

// close ends t: a last report, no partner, no addresses. On its worker.
func (t *term) close() {
	t.closed = true
	t.report(t.w.now, true)
	if t.sound != nil {
		t.sound.end()
	}
	t.disconnect()
	t.w.drain()
	t.tellDrops()
	if t.access != nil {
		t.access.clear()
	}
	t.w.leave(t)
}
