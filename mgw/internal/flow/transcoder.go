package flow

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
)

// transcoder is a flow's audio pipeline with its place in the worker's frame clock.
type transcoder struct {
	flow *Flow
	cfg  audio.Config
	dir  *audio.Direction
	ssrc uint32 // of its own stream towards the stamper
	// hushed: it has made noise of the source's comfort noise for a partner that takes none, so has audio that could be relayed.
	hushed bool
	pulse
}

// transcode gives a packet to the pipeline for its route and makes that first where needed.
func (f *Flow) transcode(now int64, p rtp.Packet, r *route) []byte {
	if f.active == nil || !sameConfig(&f.active.cfg, &r.via) {
		if f.switched != 0 && now-f.switched < dwell {
			return f.src.drop(gate.PayloadType)
		}
		if !f.newTranscoder(r) {
			return f.src.drop(gate.PayloadType)
		}
		f.relayed, f.switched = false, now
	}
	f.push(now, p)
	return nil
}

func (f *Flow) newTranscoder(r *route) bool {
	if f.active != nil {
		f.endTranscoder(true)
	}
	cfg := r.via
	cfg.Loss, cfg.Scratch = f.loss, f.src.w.coding
	dir, err := audio.New(cfg)
	if err != nil {
		return false
	}
	dir.Request(f.asked)
	f.made++
	f.resting = false
	// The SSRC only tells the stamper one pipeline from another; it never leaves.
	f.active = &transcoder{flow: f, cfg: r.via, dir: dir, ssrc: f.made}
	f.active.of = f.active
	f.timeSource()
	f.dst.out.stamp.Switch()
	return true
}

// endTranscoder lets the pipeline play what it holds and closes it. fades: nothing goes on where it ends.
func (f *Flow) endTranscoder(fades bool) {
	t := f.active
	t.rest(fades)
	f.active, f.spoke = nil, t.cfg.Src.PT
	f.relayed = t.hushed // it had only gone over to t for a pause, and may be in one
	f.timeSource()
	f.gone.add(t.dir.Stats())
	f.src.w.clock.remove(&t.pulse)
	t.dir.Close()
	f.dst.out.stamp.Switch()
}

// restAfter is the silence of a source after which its codecs are given up: they hold more memory than all else of a flow.
const restAfter = int64(10 * time.Second)

// rest gives the transcoder of a source up that has sent nothing for long, as on hold that only one side knows of; its next packet makes another.
func (f *Flow) rest(now int64) {
	if f.active != nil && f.active.dir.NextTick() == audio.Idle && now-f.src.in.heard > restAfter {
		f.endTranscoder(false)
		f.resting = true
	}
}

// revive makes the transcoder of a source that has none, because it rests or has not spoken yet, for what belongs to its audio, of payload type pt:
// comfort noise, and a key press, which would be two if the audio came in its midst and the transcoder took the rest of it for another. The audio is
// thought to be what it was, or else what the source prefers.
func (f *Flow) revive(now int64, pt uint8) {
	if f.active != nil || f.relayed {
		return
	}
	for i := range f.routes {
		r, of := &f.routes[i], &f.src.in.formats[i]
		if of.class != classAudio || f.resting && of.codec.PT != f.spoke {
			continue
		}
		ev, cn := r.via.SrcDTMF, r.via.SrcCN
		if r.kind == routeTranscode && (ev != nil && ev.PT == pt && r.via.DstDTMF != nil || cn != nil && cn.PT == pt) && f.newTranscoder(r) {
			f.switched = 0 // it may turn out to be another
		}
		return
	}
}

// transcoding reports whether what the source sends is transcoded, or was before it fell silent.
func (f *Flow) transcoding() bool {
	return f.active != nil || f.resting && f.path().Kind == PathTranscode
}

func (f *Flow) push(now int64, p rtp.Packet) {
	t := f.active
	switch t.dir.Push(now-f.src.w.waited, p) {
	case audio.Accepted:
		// What the source asks for concerns what it receives: the other flow's encoder makes that.
		f.dst.to.request(t.dir.Asked())
	case audio.Unexpected:
		f.src.drop(gate.PayloadType)
	case audio.Malformed:
		f.src.drop(gate.Malformed)
	default:
		f.src.drop(gate.Duplicate)
	}
	t.schedule()
}

// schedule keeps the frame clock in step with what the pipeline wants.
func (t *transcoder) schedule() {
	due := t.dir.NextTick()
	if due != audio.Idle {
		due = t.flow.src.w.load.onBeat(due)
	}
	t.flow.src.w.clock.set(&t.pulse, due)
}

// lateFrame is how late a frame may be made as if it were on time: packets have been stamped when they came, so that the lateness of the worker is no
// part of their delay. Beyond it the frame clock gives the time up.
const lateFrame = int64(100 * time.Millisecond)

// tick produces the frame that is due and sends it.
func (t *transcoder) tick(now int64) {
	at := t.due
	if now-at > lateFrame {
		at = now
	}
	buf := t.flow.src.w.buffer()
	n, frame := t.dir.Tick(at, buf[rtp.HeaderLen:len(buf)-overhead])
	t.schedule()
	t.digits()
	t.send(now, buf, n, frame)
}

// digits tells which keys were heard in the audio.
func (t *transcoder) digits() {
	if t.cfg.Tones {
		for d, ok := t.dir.TakeDTMF(); ok; d, ok = t.dir.TakeDTMF() {
			t.flow.src.digit(d)
		}
	}
}

// rest sends at once what has come and was not played yet.
func (t *transcoder) rest(fades bool) {
	f, w := t.flow, t.flow.src.w
	if f.dst.closed {
		return
	}
	for range maxRest {
		buf, due := w.buffer(), t.dir.NextTick()
		n, frame := t.dir.Rest(buf[rtp.HeaderLen:len(buf)-overhead], fades)
		if frame.Kind == audio.None {
			t.digits()
			return
		}
		t.send(max(w.now, due), buf, n, frame) // stamped with its time, so that what follows does not come later than that
	}
}

// maxRest is more frames than a jitter buffer holds.
const maxRest = 64

// send lets a frame, whose payload of n bytes lies in buf behind the header's place, leave if there is somebody to hear it.
func (t *transcoder) send(now int64, buf []byte, n int, frame audio.Frame) {
	f, w := t.flow, t.flow.src.w
	if frame.Kind == audio.None || f.replaced {
		return
	}
	if f.dst.refusal() != gate.Pass {
		f.dst.out.stamp.Switch() // what nobody was to hear leaves no gap in the numbers
		return
	}
	rtp.PutHeader(buf, rtp.Header{PT: frame.PT, Marker: frame.Marker, Seq: frame.Seq, TS: frame.TS, SSRC: t.ssrc})
	if b := f.stamped(now, rtp.Packet(buf[:rtp.HeaderLen+n]), stampKinds[frame.Kind]); b != nil {
		w.send(f.dst, b)
	}
}

// setLoss tells how many percent of what the flow delivers its receiver has lost lately.
func (f *Flow) setLoss(percent int) {
	f.loss = percent
	if f.active != nil {
		f.active.dir.SetLoss(percent)
	}
}

// request tells which codec mode the receiver of what the flow delivers wants (RFC 4867 §4.3.1).
func (f *Flow) request(r transcode.Request) {
	if r == f.asked {
		return
	}
	f.asked = r
	if f.active != nil {
		f.active.dir.Request(r)
	}
}
