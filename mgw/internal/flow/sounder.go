package flow

import (
	"fmt"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/stamp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
)

// sounder plays the signals of a termination on the worker's frame clock. Its packets go through the stamper of whoever hears them, so that
// a peer's stream goes on in number and time, from media to signal and back. Owned by the worker.
type sounder struct {
	t        *term // whose descriptor it is
	internal bool
	player   *audio.Player
	ssrc     uint32 // tells its stream from others towards the stamper; it never leaves
	seq      uint16 // of what has been sent: frames that nobody could hear leave no gap
	pulse
}

// sounderSSRC is apart from the numbers that transcoders give themselves.
const sounderSSRC = 0x80000000

// play checks and plays signals on the worker.
func play(w *worker, t *term, s Signals) error {
	err := ErrClosed
	w.alive(t, func() { err = t.play(w.now, s) })
	if err != nil {
		return fmt.Errorf("%s: %w", t.owner.ID(), err)
	}
	return nil
}

func (t *term) play(now int64, s Signals) error {
	hears := t
	if s.Internal {
		hears = t.partner
	}
	if hears != nil && hears.needsCodec(s.List) {
		if send := hears.set.Send; !send.IsZero() && !transcode.Supported(send) {
			return fmt.Errorf("%w: %s/%d", ErrNoCodec, send.Name, send.ClockRate)
		}
	}
	if t.sound == nil {
		if len(s.List) == 0 {
			return nil
		}
		t.sound = &sounder{t: t, internal: s.Internal, player: audio.NewPlayer(t.w.coding), ssrc: sounderSSRC | t.w.sounded&(sounderSSRC-1)}
		t.w.sounded++
		t.sound.of = t.sound
		t.aimSounds()
	}
	x := t.sound
	if err := x.player.Replace(s.List); err != nil {
		if x.player.Idle() {
			x.end()
		}
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	if x.internal != s.Internal && len(s.List) > 0 {
		x.internal = s.Internal
		t.aimSounds()
	}
	x.wake(now)
	x.settle()
	return nil
}

// needsCodec reports whether items cannot be played to t as telephone events.
func (t *term) needsCodec(items []audio.Item) bool {
	for i := range items {
		if items[i].Source != nil || t.set.SendDTMF.IsZero() {
			return true
		}
	}
	return false
}

// hears is the termination whose peer hears the signals; nil: there is none.
func (x *sounder) hears() *term {
	if x.internal {
		return x.t.partner
	}
	return x.t
}

// aimSounds follows a change of t, of its partner or of what they play: what the signals are coded for, and which flows they displace.
func (t *term) aimSounds() {
	for _, x := range [2]*term{t, t.partner} {
		if x == nil {
			continue
		}
		if x.sound != nil {
			x.sound.aim()
		}
		if x.partner != nil {
			was := x.partner.to.replaced
			x.partner.to.replaced = x.voice() != nil
			if was != x.partner.to.replaced {
				x.out.stamp.Switch()
			}
		}
	}
}

// voice is the signals that t's peer hears: its own before those played to it from inside.
func (t *term) voice() *sounder {
	if t.sound != nil && !t.sound.internal {
		return t.sound
	}
	if t.partner != nil && t.partner.sound != nil && t.partner.sound.internal {
		return t.partner.sound
	}
	return nil
}

// wake puts x on the frame clock, if it is not.
func (x *sounder) wake(now int64) {
	if x.heap == 0 {
		x.t.w.clock.set(&x.pulse, x.t.w.load.onBeat(now))
	}
}

// aim follows what the listener takes. Without one the signal goes on, as it is the termination's (H.248.1 §7.1.11), but unheard: only time passes, and a
// signal without end lets even that be.
func (x *sounder) aim() {
	to := x.hears()
	if to == nil {
		x.player.Aim(audio.PlayerConfig{})
		return
	}
	x.wake(x.t.w.now)
	x.player.Aim(audio.PlayerConfig{
		Dst: to.set.Send, Events: to.set.SendDTMF, Ptime: to.set.framing(), Bitrate: to.w.cfg.Bitrates.of(to.set.Send, audio.PlayerRate), MaxBitrate: to.set.MaxBitrate,
	})
	if from := to.partner; from != nil {
		x.player.Request(from.to.asked)
	}
	if send := to.set.Send; !send.IsZero() && !transcode.Supported(send) && to.set.SendDTMF.IsZero() {
		x.player.Abandon()
	}
}

// tick plays the frame that is due.
func (x *sounder) tick(now int64) {
	w := x.t.w
	to := x.hears()
	x.player.Reach(to != nil && to.unreachable() == gate.Pass)
	buf := w.buffer()
	n, f := x.player.Tick(buf[rtp.HeaderLen : len(buf)-overhead])
	ptime := int64(x.player.Ptime())
	due := x.due + ptime
	if now-due > int64(lateSound) {
		due = now + ptime // the worker was held up: the peer's buffer has run dry anyway
	}
	w.clock.set(&x.pulse, w.load.onBeat(due))
	if f.Kind != audio.None && to != nil && to.voice() == x {
		x.send(now, to, buf[:rtp.HeaderLen+n], f)
	}
	if to == nil && x.player.Endless() {
		w.clock.remove(&x.pulse)
	}
	x.settle()
}

// lateSound is how far a sounder may be behind before it gives the time up.
const lateSound = 100 * 1e6

// stampKinds is how frames are stamped.
var stampKinds = [...]stamp.Kind{audio.Audio: stamp.Audio, audio.Event: stamp.Event, audio.Foreign: stamp.ForeignEvent, audio.Noise: stamp.Audio}

func (x *sounder) send(now int64, to *term, b []byte, f audio.Frame) {
	if to.unreachable() != gate.Pass || to.leg == nil {
		return
	}
	rtp.PutHeader(b, rtp.Header{PT: f.PT, Marker: f.Marker, Seq: x.seq, TS: f.TS, SSRC: x.ssrc})
	x.seq++
	p := rtp.Packet(b)
	if to.out.stamp.Apply(now, p, stampKinds[f.Kind]) != stamp.Pass {
		return
	}
	if out := to.seal(p); out != nil {
		to.w.send(to, out)
	}
}

// settle tells what has ended, and ends the sounder when nothing is left.
func (x *sounder) settle() {
	for d, ok := x.player.Take(); ok; {
		next, more := x.player.Take()
		x.t.tell(Event{Kind: SignalDone, Signal: SignalEnd{Done: d, Last: !more && x.player.Idle()}})
		d, ok = next, more
	}
	if x.player.Idle() {
		x.end()
	}
}

// end gives the listener back to media.
func (x *sounder) end() {
	x.t.w.clock.remove(&x.pulse)
	x.player.Close()
	x.t.sound = nil
	x.t.aimSounds()
}
