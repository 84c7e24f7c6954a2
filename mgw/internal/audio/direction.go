// Package audio is the transcoding pipeline from RTP to RTP: jitter buffer, decoder with concealment and in-band FEC, rate change,
// frame clock, encoder. Between floors 1 and 2: it composes jitter, transcode and dtmf for package flow. // hot
// Owner: the worker that holds the flow; no goroutine, no clock, no allocation in the long run; not safe for concurrent use. What is needed
// for one frame only is the worker's, see Scratch; what depends on what comes is made as it comes.
//
//	stage             where                  paced by
//	Push              jitter buffer, events  arrival
//	Tick: pop         decode | FEC | conceal frame clock, Ptime
//	      shape       rate change, time scale
//	      encode      one payload            at most one packet per tick
package audio

import (
	"fmt"
	"math"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/jitter"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

const (
	// Idle is what NextTick says when there is nothing to do until the next Push.
	Idle = math.MaxInt64

	hang    = int64(time.Second)            // after so long without a packet the output pauses
	patient = 30 * hang                     // the same where the source has said that it is silent: some say so once
	maxLag  = int64(100 * time.Millisecond) // a frame clock further behind than this is set anew
	maxLoss = 30                            // percent told to the encoder at most
)

// Kind tells what Tick produced.
type Kind uint8

// Kinds of Frame.
const (
	None    Kind = iota // nothing to send this time
	Audio               // payload of Config.Dst
	Event               // payload of Config.DstDTMF
	Foreign             // likewise, its clock is another than that of Config.Dst
	Noise               // payload of Config.DstCN
)

// Frame is the header of what Tick produced. Its numbers are the Direction's own continuous stream, to be mapped by package stamp.
type Frame struct {
	Kind   Kind
	PT     uint8
	Marker bool
	Seq    uint16 // plus one per packet sent
	TS     uint32 // ticks of Config.Dst.ClockRate; of the start for an event
}

// Verdict says what Push did with a packet.
type Verdict uint8

// Verdicts of Push.
const (
	Accepted   Verdict = iota
	Unexpected         // payload type that was not negotiated
	Malformed          // payload that is not valid for its type
	Duplicate
	Late
	Jump // wild sequence number, unconfirmed
)

// String is the name for counters.
func (v Verdict) String() string {
	switch v {
	case Accepted:
		return "accepted"
	case Unexpected:
		return "unexpected"
	case Malformed:
		return "malformed"
	case Duplicate:
		return "duplicate"
	case Late:
		return "late"
	default:
		return "jump"
	}
}

// Stats count since New.
type Stats struct {
	Jitter    jitter.Stats
	Frames    uint64 // packets produced, events included
	Events    uint64 // of those, telephone events
	Decoded   uint64 // source packets decoded
	Recovered uint64 // frames decoded from in-band FEC
	Concealed uint64 // frames concealed; pauses of the source are none
	Malformed uint64 // payloads refused, by type or by decoder
	Shortened uint64 // times a pitch period was cut out
	Stretched uint64 // times one was put in
	Shifted   uint64 // times the frame clock was moved a little instead
	Resynced  uint64 // times the frame clock was set anew because the worker was late
}

// Direction carries audio one way between two codecs. Use New; Close it.
type Direction struct {
	cfg  Config
	buf  *jitter.Buffer
	rx   *dtmf.Receiver // nil before the first event of the source
	keys *dtmf.Player   // nil before the first press, and when the peer has no events
	beep *dtmf.Tones    // for a peer without events, likewise
	find *dtmf.Detector // of keys in the audio; nil: none could be there
	codecs
	samples
	timeline
	steering
	bed bed

	loss       int    // percent, as told to the encoder
	noised     uint32 // timestamp after the newest comfort noise sent, ticks
	row        int    // packets decoded since one was waited for
	quieted    bool   // the peer has been told of the present pause
	waited     int    // frames concealed while a packet might still come; not counted yet
	sinceScale int    // ticks since the length of the audio was last looked at
	later      ration // of moves of the frame clock
	sooner     ration
	closed     bool
	ended      bool // Rest has produced the last frame
	stats      Stats
}

// steering is what codecs of frames, AMR and AMR-WB, have beside the audio.
type steering struct {
	from   transcode.FrameDecoder // the decoder, nil when it is another one
	to     transcode.FrameEncoder // the encoder, nil when it is another one
	coded  uint32                 // timestamp after the newest frame encoded, ticks
	newest uint32                 // timestamp of the newest packet of the source, which holds the request that counts
	asked  transcode.Request      // in it
}

// codecs is the way of the audio.
type codecs struct {
	dec              transcode.Decoder
	enc              transcode.Encoder
	rate             *transcode.Resampler // nil when both codecs share a rate
	decRate, encRate int                  // Hz
}

// samples are the buffers between the stages. All but pcm are the worker's.
type samples struct {
	pcm   fifo    // at the encoder's rate
	work  []int16 // one packet at the decoder's rate
	conv  []int16 // the same at the encoder's rate, nil without rate
	frame []int16 // one output frame
	tail  []int16 // continuation of the source before, at the decoder's rate
}

// timeline is the frame clock and where the output stream stands.
type timeline struct {
	ptime  int64  // length of a frame, ns
	step   uint32 // and in ticks
	next   int64  // time of the next frame; Idle when stopped
	heard  int64  // arrival of the newest packet; when stopped, the time of the last tick
	ts     uint32 // of the next frame, ticks
	seq    uint16 // of the next packet
	marker bool   // the next audio packet begins a talk spurt
	silent bool   // the source has stopped; nothing to send until audio is back
}

// New makes a Direction. The caller must Close it: codecs hold memory outside Go's heap. Errors: ErrConfig, those of package transcode.
func New(cfg Config) (*Direction, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	decRate, encRate := cfg.rates()
	dec, err := transcode.NewDecoder(cfg.Src, decRate)
	if err != nil {
		return nil, fmt.Errorf("audio: source: %w", err)
	}
	if cfg.Scratch == nil {
		cfg.Scratch = NewScratch()
	}
	enc, err := transcode.NewEncoder(cfg.Dst, transcode.EncoderConfig{
		Rate: encRate, Ptime: cfg.Ptime, Bitrate: cfg.Bitrate, MaxBitrate: cfg.MaxBitrate, Complexity: cfg.Complexity, Loss: cfg.Loss, DTX: cfg.DTX,
		Scratch: &cfg.Scratch.codecs,
	})
	if err != nil {
		dec.Close()
		return nil, fmt.Errorf("audio: destination: %w", err)
	}
	d := assemble(cfg, dec, enc, decRate, encRate)
	if decRate != encRate {
		if d.rate, err = transcode.NewResampler(decRate, encRate); err != nil {
			d.Close()
			return nil, fmt.Errorf("audio: %w", err)
		}
		d.conv = cfg.Scratch.conv[:encRate*transcode.Longest(cfg.Src)/1000]
	}
	return d, nil
}

func assemble(cfg Config, dec transcode.Decoder, enc transcode.Encoder, decRate, encRate int) *Direction {
	frame, packet := int(rtp.Ticks(int64(cfg.Ptime), uint32(encRate))), transcode.Longest(cfg.Src)
	d := &Direction{
		cfg: cfg,
		buf: jitter.New(jitter.Config{
			ClockRate: cfg.Src.ClockRate, Min: cfg.DelayMin, Start: cfg.DelayStart, Max: cfg.DelayMax, FEC: cfg.Src.Is("opus"),
		}),
		codecs: codecs{dec: dec, enc: enc, decRate: decRate, encRate: encRate},
		samples: samples{
			pcm:   newFIFO(frame + encRate*(packet+spareMS)/1000),
			work:  cfg.Scratch.work[:decRate*packet/1000],
			frame: cfg.Scratch.frame[:frame],
			tail:  cfg.Scratch.tail[:decRate*seamMS/1000],
		},
		timeline: timeline{
			ptime: int64(cfg.Ptime), step: uint32(rtp.Ticks(int64(cfg.Ptime), cfg.Dst.ClockRate)),
			next: Idle, marker: true, silent: true,
		},
		loss: cfg.Loss, later: 2 * laterEvery, sooner: 2 * soonerEvery,
		bed: newBed(decRate),
	}
	d.from, _ = dec.(transcode.FrameDecoder)
	d.to, _ = enc.(transcode.FrameEncoder)
	if cfg.Tones || cfg.SrcDTMF != nil && !cfg.Src.Is(codec.Opus) && encRate <= 16000 {
		// Gateways of the telephone network send events and let the tones through for a moment; a browser has none.
		d.find = dtmf.NewDetector(encRate)
	}
	return d
}

// Push takes a plaintext packet of the source that arrived at now (monotonic ns); the payload is copied.
func (d *Direction) Push(now int64, p rtp.Packet) Verdict {
	switch pt := p.PT(); {
	case d.closed:
		return Unexpected
	case pt == d.cfg.Src.PT:
		return d.pushAudio(now, p)
	case d.cfg.SrcDTMF != nil && pt == d.cfg.SrcDTMF.PT:
		return d.pushEvent(now, p)
	case d.cfg.SrcCN != nil && pt == d.cfg.SrcCN.PT:
		return d.pushNoise(now, p)
	}
	return Unexpected
}

// pushAudio gives a packet to the jitter buffer.
func (d *Direction) pushAudio(now int64, p rtp.Packet) Verdict {
	payload := p.Payload()
	if v := d.keep(now, jitter.Packet{SSRC: p.SSRC(), Seq: p.Seq(), TS: p.TS(), Dur: d.dec.Ticks(payload), Payload: payload}); v != Accepted {
		return v
	}
	if d.from != nil && (!d.asked.Made || rtp.TSDiff(p.TS(), d.newest) > 0) {
		d.newest, d.asked = p.TS(), d.from.Request(payload)
	}
	d.wake(now)
	return Accepted
}

// keep puts a packet into the jitter buffer.
func (d *Direction) keep(now int64, p jitter.Packet) Verdict {
	switch d.buf.Push(now, p) {
	case jitter.Kept:
		return Accepted
	case jitter.Duplicate:
		return Duplicate
	case jitter.Late:
		return Late
	case jitter.Jump:
		return Jump
	}
	d.stats.Malformed++
	return Malformed
}

// Asked is the codec mode request in the newest packet of the source: what its receiver of the other direction wants, for Request of that
// one. The zero value: there was none yet, or the source's codec has none.
func (d *Direction) Asked() transcode.Request { return d.asked }

// Request tells the encoder which mode the peer wants (RFC 4867 §4.3.1). Encoders of other codecs ignore it.
func (d *Direction) Request(r transcode.Request) {
	if d.to != nil && !d.closed {
		d.to.Request(r)
	}
}

// pushEvent follows a key press; its packets are made anew by Tick.
func (d *Direction) pushEvent(now int64, p rtp.Packet) Verdict {
	if d.rx == nil {
		d.rx = dtmf.NewReceiver(d.cfg.SrcDTMF.ClockRate)
	}
	press, v := d.rx.Push(now, dtmf.Packet{SSRC: p.SSRC(), TS: p.TS(), Marker: p.Marker(), Payload: p.Payload()})
	switch v {
	case dtmf.Stale:
		return Late
	case dtmf.Malformed:
		d.stats.Malformed++
		return Malformed
	}
	d.pressed(press)
	d.wake(now)
	return Accepted
}

// pressed tells who plays the keys of their state.
func (d *Direction) pressed(p dtmf.Press) {
	if p.ID == 0 || d.cfg.Silent {
		return
	}
	clock := uint32(dtmf.DetectorClock)
	if d.cfg.SrcDTMF != nil {
		clock = d.cfg.SrcDTMF.ClockRate
	}
	if to := d.cfg.DstDTMF; to != nil {
		if d.keys == nil {
			d.keys = dtmf.NewPlayer(clock, to.ClockRate)
		}
		d.keys.Update(p)
		return
	}
	if d.beep == nil {
		d.beep = dtmf.NewTones(clock, uint32(d.encRate))
	}
	d.beep.Update(p)
}

// TakeDTMF returns the oldest key press of the source that is over and was not taken yet; the last eight are kept.
func (d *Direction) TakeDTMF() (dtmf.Detected, bool) {
	switch {
	case d.cfg.Tones:
		return d.find.Take()
	case d.rx != nil:
		return d.rx.Take()
	}
	return dtmf.Detected{}, false
}

// wake starts the frame clock with the first packet.
func (d *Direction) wake(now int64) {
	if d.next == Idle {
		first := now + max(int64(d.cfg.DelayStart), rtp.Nanos(d.buf.Start(), d.cfg.Src.ClockRate))
		if d.heard != 0 {
			d.ts += uint32(rtp.Ticks(max(0, first-d.heard), d.cfg.Dst.ClockRate))
		}
		d.next = first
	}
	d.heard = now
}

// NextTick is when Tick wants to be called, monotonic ns; Idle when not before the next Push.
func (d *Direction) NextTick() int64 { return d.next }

// Tick produces the packet that is due at now, at most one: the payload goes to out, its length is returned. out: room for
// transcode.MaxPayload bytes. Call again while NextTick is not after now.
func (d *Direction) Tick(now int64, out []byte) (int, Frame) {
	if now < d.next || d.closed {
		return 0, Frame{}
	}
	if now-d.next > maxLag {
		late := (now - d.next) / d.ptime
		d.next += late * d.ptime
		d.ts += uint32(late) * d.step
		d.stats.Resynced++
	}
	ts := d.ts
	d.next += d.ptime
	d.ts += d.step
	if d.rx != nil {
		d.pressed(d.rx.Poll(now))
	}
	pressed, beeps := d.keys != nil && d.keys.Active(), d.beep != nil && d.beep.Active()
	if gone := now - d.heard; (gone > patient || gone > hang && !d.bed.silent()) && !pressed && !beeps {
		d.pause(now)
		return 0, Frame{}
	}
	audible := d.fill(now)
	if d.find != nil && audible {
		d.find.Process(d.frame)
		if d.cfg.Tones {
			d.pressed(d.find.Press())
			pressed, beeps = d.keys != nil && d.keys.Active(), d.beep != nil && d.beep.Active()
		}
	}
	switch {
	case pressed:
		return d.event(ts, out)
	case beeps:
		d.beep.Fill(d.frame)
		return d.audio(ts, out)
	case audible && d.cfg.DstCN != nil && d.pausing():
		return d.quiet(ts, out)
	case audible:
		return d.audio(ts, out)
	}
	return 0, Frame{}
}

// pause stops the frame clock until the next Push.
func (d *Direction) pause(now int64) {
	d.next, d.heard = Idle, now
	d.silent, d.marker, d.quieted = true, true, false
	d.pcm.reset()
	d.buf.Release()
	d.bed.rest()
}

// audio encodes the frame that fill made.
func (d *Direction) audio(ts uint32, out []byte) (int, Frame) {
	if d.to != nil {
		d.to.Skip(ts - d.coded)
		d.coded = ts + d.step
	}
	n, err := d.enc.Encode(d.frame, out)
	if err != nil || n == 0 {
		d.marker = true
		return 0, Frame{}
	}
	d.quieted = false
	speech := d.to == nil || d.to.Speech()
	f := Frame{Kind: Audio, PT: d.cfg.Dst.PT, Marker: d.marker && speech, Seq: d.seq, TS: ts}
	d.marker = !speech
	d.seq++
	d.stats.Frames++
	return n, f
}

// event sends a packet of the current key press in place of the audio, which is lost: the peer plays the tone (RFC 4733 §2.5.1.1).
func (d *Direction) event(ts uint32, out []byte) (int, Frame) {
	kind, step := Event, d.step
	if clock := d.cfg.DstDTMF.ClockRate; clock != d.cfg.Dst.ClockRate {
		kind, step = Foreign, uint32(rtp.Ticks(d.ptime, clock))
		ts = uint32(uint64(ts) * uint64(clock) / uint64(d.cfg.Dst.ClockRate)) // tells presses apart, no more
	}
	n, s := d.keys.Next(ts, step, out)
	f := Frame{Kind: kind, PT: d.cfg.DstDTMF.PT, Marker: s.Marker, Seq: d.seq, TS: s.TS}
	d.marker = true
	d.seq++
	d.stats.Frames++
	d.stats.Events++
	return n, f
}

// fill decodes until one output frame is in d.frame; false when the source has nothing to say.
func (d *Direction) fill(now int64) bool {
	for d.pcm.len() < len(d.frame) {
		r := d.buf.Pop(now)
		if r.Kind == jitter.Empty && d.silent {
			return false
		}
		d.silent = false
		d.pcm.put(d.convert(d.decode(r)))
	}
	d.retime(now)
	d.pcm.take(d.frame)
	return true
}

// SetLoss tells the encoder how many percent of our packets the peer loses (RFC 3550 §6.4.1 fraction lost). It rises at once and
// falls slowly, so that one good report does not strip the protection.
func (d *Direction) SetLoss(percent int) {
	percent = min(max(percent, 0), maxLoss)
	if percent < d.loss {
		percent = max(percent, d.loss-(d.loss+3)/4)
	}
	d.loss = percent
	if !d.closed {
		d.enc.SetLoss(percent)
	}
}

// Stats are the counters so far.
func (d *Direction) Stats() Stats {
	s := d.stats
	s.Jitter = d.buf.Stats()
	return s
}

// Close frees the codecs. A second call does nothing; Tick produces nothing afterwards.
func (d *Direction) Close() {
	if d.closed {
		return
	}
	d.closed = true
	d.next = Idle
	d.dec.Close()
	d.enc.Close()
}
